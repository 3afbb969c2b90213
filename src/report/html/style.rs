//! How pages look: in a browser's own fonts, dark where the reader's are, printed as they stand.

/// Colours are given by what they mean. Fills are light enough, or dark enough, for the text on them.
pub const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--edge:#8888;--ink:#1a1a1a;\
--good:#d3f0d8;--goodline:#146c2e;--done:#e4eee6;--doneline:#5b7a63;--live:#d6e4ff;--liveline:#1f4fa3;\
--bad:#f9dedc;--badline:#b3261e;--badedge:#b3261e;--warn:#ffefc7;--warnline:#7a5900;--odd:#eadcf7;--oddline:#6a3fa0;--risk:#ffdcb3;--riskline:#8f4300;--plain:#f1f1f1;--plainline:#777}\
@media(prefers-color-scheme:dark){:root{--ink:#eee;\
--good:#12401f;--goodline:#7ddc93;--done:#26332a;--doneline:#9db8a4;--live:#15305f;--liveline:#9cc0ff;\
--bad:#5a1512;--badline:#ffb4ab;--badedge:#ff6257;--warn:#4a3800;--warnline:#ffdf9b;--odd:#3c2559;--oddline:#d3b7f5;--risk:#5a3000;--riskline:#ffb570;--plain:#2b2b2b;--plainline:#999}}\
body{font:16px/1.5 system-ui,sans-serif;margin:1.5rem auto;max-width:76rem;padding:0 1rem}\
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.2rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}th,td{border-bottom:1px solid var(--line);padding:.3rem .6rem;text-align:left;vertical-align:top}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\
code,pre{font-family:ui-monospace,monospace;font-size:.9em;overflow-wrap:anywhere}\
pre{white-space:pre-wrap;border-left:3px solid var(--line);padding-left:.6rem;margin:.4rem 0;max-height:24rem;overflow:auto}\
.scroll{overflow-x:auto}@media(max-width:66rem){.scroll:has(>svg)::before{content:\"Wider than the window: scroll sideways.\";display:block;position:sticky;left:0;width:max-content;max-width:90vw;font-size:.85rem;opacity:.8}}svg{width:100%;height:auto;min-width:64rem}td code{overflow-wrap:break-word}\
p,h1,li,dd{overflow-wrap:anywhere}td.name,td.name code,td.why,td.why code{overflow-wrap:anywhere}td.name{min-width:11rem}td.why{min-width:14rem}\
a{color:inherit}a:focus-visible,summary:focus-visible,.scroll:focus-visible{outline:3px solid;outline-offset:2px}\
tr:target>td{background:var(--warn)}\
.pyramid text{font:12px ui-monospace,monospace;fill:var(--ink)}.pyramid .target text{font:600 13px system-ui,sans-serif;text-anchor:middle}\
.pyramid .target rect{fill:var(--plain);stroke:var(--plainline)}\
.edges path{fill:none;stroke:var(--edge);stroke-width:1.5;opacity:.85}.edges .h0{stroke:#3b7dd8}.edges .h1{stroke:#c2621a}.edges .h2{stroke:#8257c8}.edges .h3{stroke:#128a72}.edges .h4{stroke:#b8498d}.edges .h5{stroke:#85821f}.edges .overridden{stroke:var(--riskline)}.pyramid:has(:where(.item:hover,.item:focus-visible)) .edges path:where(:not(.lit)){opacity:.2}.item.near rect,.item.near path{stroke:var(--ink);stroke-width:2.5}.edges .lit{stroke:var(--ink);stroke-width:2.5;opacity:1}\
.edges .failed,.edges .conflicted,.edges .blocked{stroke:var(--badedge);stroke-dasharray:4 3}\
.item rect,.item path,.job{stroke-width:1.5}.item{text-decoration:none}.item:hover rect,.item:hover path,.item:focus-visible rect,.item:focus-visible path{stroke-width:3.5}\
.landed rect,.landed path,.job.landed{fill:var(--good);stroke:var(--goodline)}\
.overridden rect,.overridden path{fill:var(--risk);stroke:var(--riskline)}.overridable rect,.overridable path{fill:Canvas;stroke:var(--riskline);stroke-dasharray:4 3}\
.before rect,.before path{fill:var(--done);stroke:var(--doneline)}\
.passed rect,.passed path{fill:Canvas;stroke:var(--goodline)}\
.running rect,.running path,.job.running{fill:var(--live);stroke:var(--liveline)}\
.waiting rect,.waiting path,.lands rect,.lands path{fill:var(--plain);stroke:var(--plainline)}\
.failed rect,.failed path,.job.failed{fill:var(--bad);stroke:var(--badline)}\
.conflicted rect,.conflicted path{fill:var(--warn);stroke:var(--warnline)}\
.blocked rect,.blocked path{fill:Canvas;stroke:var(--badline);stroke-dasharray:4 3}\
.unjudged rect,.unjudged path{fill:var(--odd);stroke:var(--oddline)}\
.skipped rect,.skipped path,.job.skipped{fill:Canvas;stroke:var(--plainline);stroke-dasharray:4 3}\
.edges path{fill:none!important}\
.job.apex{stroke-width:3}.tick{stroke:var(--line)}.pause{stroke:var(--plainline);stroke-dasharray:2 3}.landing{stroke:var(--goodline);stroke-width:2}.landing.overridden{stroke:var(--riskline);stroke-dasharray:4 2}\
.timeline text{font:11px system-ui,sans-serif;fill:var(--ink)}.timeline .axis,.timeline .sign{text-anchor:middle}.timeline .sign{pointer-events:none}\
.badge{display:inline-block;border:1.5px solid;border-radius:1rem;padding:0 .6rem;white-space:nowrap}\
.badge.landed{background:var(--good);border-color:var(--goodline)}.badge.overridden{background:var(--risk);border-color:var(--riskline);border-radius:0}.badge.overridable{border-color:var(--riskline);border-style:dashed;border-radius:0}.badge.before{background:var(--done);border-color:var(--doneline)}\
.badge.passed{border-color:var(--goodline)}.badge.running{background:var(--live);border-color:var(--liveline)}\
.badge.waiting,.badge.lands{background:var(--plain);border-color:var(--plainline)}.badge.failed{background:var(--bad);border-color:var(--badline)}\
.badge.conflicted{background:var(--warn);border-color:var(--warnline)}.badge.blocked{border-color:var(--badline);border-style:dashed}\
.badge.unjudged{background:var(--odd);border-color:var(--oddline)}.badge.skipped{border-style:dashed}\
.next{border-left:4px solid var(--liveline);padding:.3rem .8rem}\
.gauges{display:flex;flex-wrap:wrap;gap:.5rem 2rem;margin:1rem 0}.gauges dt{font-size:.85rem;opacity:.8}.gauges dd{margin:0;font-size:1.25rem;font-variant-numeric:tabular-nums}\
button{font:inherit;padding:.1rem .6rem;border:1px solid var(--plainline);border-radius:.3rem;background:var(--plain);color:inherit;cursor:pointer}\
button:focus-visible{outline:3px solid;outline-offset:2px}td button{font-size:.85rem}\
.skip:not(:focus-within){position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden;white-space:nowrap;margin:0}section:focus{outline:none}body.panelled{padding-bottom:56vh}html{scroll-padding-bottom:1rem}html:has(body.panelled){scroll-padding-bottom:56vh}\
#live:empty{display:none}#live{font-size:.9rem;opacity:.85;margin:0}\
#panel{position:fixed;inset:auto 0 0 0;max-height:55vh;overflow:auto;background:Canvas;border-top:3px solid var(--liveline);padding:.5rem 1rem;box-shadow:0 -4px 16px #0006}\
#panel h2{margin:.2rem 0}#panel pre{max-height:38vh}#panel-close{float:right}\
@media print{svg{min-width:0}details:not([open])>*{display:none}}";
