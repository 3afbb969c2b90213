// The live page: follows the run's events, and asks for the parts of the page that they change. All markup comes from
// the server, which has escaped what others wrote; text from logs is put in as text.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const status = byId("live");
  const panel = byId("panel");
  const panelTitle = byId("panel-title");
  const panelText = byId("panel-text");
  // At least so long between two looks, in milliseconds.
  const LEAST_PAUSE = 500;
  // Between two attempts to connect, in milliseconds: at first, and at most.
  const LEAST_RETRY = 500;
  const MOST_RETRY = 10000;
  // What goes on changes the picture of the workers though nothing happens: it is asked for so often, in milliseconds.
  const LONGEST_PAUSE = 30000;
  // A log on the screen is cut to this many characters.
  const MOST_LOG = 400000;

  const known = new Map();
  let asking = false;
  let again = false;
  let zoom = null;
  let log = null;
  let why = null;
  // Where the focus goes when the panel is closed: an update may have made that element anew.
  let returnTo = null;

  const say = (text) => {
    if (status.textContent !== text) status.textContent = text;
  };

  // Which folds are open, by the row they are in, so that they stay so.
  const openFolds = (section) =>
    [...section.querySelectorAll("details[open]")].map((fold) => fold.closest("[id]")?.id).filter(Boolean);

  // What a link, a button or a fold is known by from one update to the next.
  const markOf = (one) =>
    one.dataset?.key || one.getAttribute("href") || (one.tagName === "SUMMARY" && "fold-" + one.closest("[id]")?.id);
  const withMark = (within, mark) => [...within.querySelectorAll("a,button,summary")].find((one) => markOf(one) === mark);

  const replace = (section, html) => {
    const open = openFolds(section);
    const scrolled = [...section.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
    const active = section.contains(document.activeElement) ? document.activeElement : null;
    const mark = active && markOf(active);
    const box = active ? [...section.querySelectorAll(".scroll")].indexOf(active) : -1;
    section.innerHTML = html;
    for (const id of open) {
      const holder = byId(id);
      (holder?.tagName === "DETAILS" ? holder : holder?.querySelector("details"))?.setAttribute("open", "");
    }
    section.querySelectorAll(".scroll").forEach((box, at) => {
      if (scrolled[at]) [box.scrollLeft, box.scrollTop] = scrolled[at];
    });
    if (section.id === "pyramid") dressPyramid(section);
    if (active) {
      const same = box >= 0 ? section.querySelectorAll(".scroll")[box] : mark && withMark(section, mark);
      // What had the focus may be gone: who reads on by keyboard is still in this part of the page.
      if (same) same.focus({ preventScroll: true });
      else focusOn(section);
    }
  };

  const focusOn = (section) => {
    section.tabIndex = -1;
    section.focus({ preventScroll: true });
  };

  const refresh = async () => {
    if (asking) {
      again = true;
      return;
    }
    asking = true;
    again = false;
    try {
      const answer = await fetch("/parts", { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      const { finished, now_ms: now, parts, seq } = await answer.json();
      ahead = Math.min(ahead, Date.now() - now);
      newest = Math.max(newest, seq);
      let changed = false;
      for (const { id, html } of parts) {
        const section = byId(id);
        if (section && known.get(id) !== html) {
          known.set(id, html);
          replace(section, html);
          changed = true;
        }
      }
      tick();
      if (changed && why !== null) showReasons(why);
      const title = document.querySelector("h1");
      document.body.dataset.seq = seq;
      document.body.dataset.finished = finished;
      say(finished ? `The run has ended: ${title?.textContent}.` : "Live: the page follows the run.");
      // What came while the page was made is not in it yet.
      if (!finished && seq < newest) again = true;
    } catch {
      // The stream says when the server is there again.
    }
    setTimeout(() => {
      asking = false;
      if (again) refresh();
    }, LEAST_PAUSE);
  };

  // How much this clock is ahead of the run's, at most: what says the time takes its time to come.
  let ahead = Infinity;
  const words = (seconds) => {
    const [minutes, two] = [Math.floor(seconds / 60), (number) => String(number).padStart(2, "0")];
    if (minutes === 0) return `${seconds}s`;
    return minutes < 60 ? `${minutes}m ${two(seconds % 60)}s` : `${Math.floor(minutes / 60)}h ${two(minutes % 60)}m`;
  };
  const tick = () => {
    if (ahead === Infinity) return;
    for (const cell of document.querySelectorAll("[data-since]")) {
      const seconds = Math.max(0, Math.floor((Date.now() - ahead - Number(cell.dataset.since)) / 1000));
      cell.textContent = words(seconds);
    }
    entitle();
  };
  const entitle = () => {
    const title = document.querySelector("h1")?.textContent;
    if (title && document.title !== title) document.title = title;
  };
  setInterval(tick, 1000);
  setInterval(() => {
    if (document.body.dataset.finished === "false") refresh();
  }, LONGEST_PAUSE);

  // The number of the newest event, and how long to wait before the next attempt to connect.
  let newest = 0;
  let pause = LEAST_RETRY;
  const follow = () => {
    const events = new EventSource("/events?since=" + newest);
    events.addEventListener("message", (event) => {
      newest = Math.max(newest, Number(event.lastEventId) || 0);
      refresh();
    });
    events.addEventListener("gone", (event) => {
      // It may be another run than before, with numbers of its own.
      newest = Number(event.lastEventId) || 0;
      refresh();
    });
    events.addEventListener("open", () => {
      pause = LEAST_RETRY;
      refresh();
    });
    events.addEventListener("error", () => {
      // A browser gives up on some errors and is slow with others. A run that has ended may be resumed, too.
      events.close();
      const hasEnded = document.body.dataset.finished === "true";
      say(hasEnded ? "The run has ended, and lexpr with it. This is how it was." : "The connection is lost; trying again.");
      setTimeout(follow, pause);
      pause = Math.min(MOST_RETRY, pause * 2);
    });
  };

  // Pan and zoom: the part of the picture that is shown.
  const dressPyramid = (section) => {
    const svg = section.querySelector("svg.pyramid");
    if (!svg) return;
    const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    const show = () => {
      if (zoom) svg.setAttribute("viewBox", [zoom.x, zoom.y, width / zoom.by, height / zoom.by].join(" "));
      else svg.setAttribute("viewBox", [0, 0, width, height].join(" "));
    };
    const to = (by, x, y) => {
      const limited = Math.min(8, Math.max(1, by));
      zoom = limited === 1 ? null : {
        by: limited,
        x: Math.min(width - width / limited, Math.max(0, x)),
        y: Math.min(height - height / limited, Math.max(0, y)),
      };
      show();
    };
    const around = (factor, partX = 0.5, partY = 0.5) => {
      const { by, x, y } = zoom || { by: 1, x: 0, y: 0 };
      const next = Math.min(8, Math.max(1, by * factor));
      to(next, x + (partX * width) / by - (partX * width) / next, y + (partY * height) / by - (partY * height) / next);
    };
    const move = (partX, partY) => {
      if (zoom) to(zoom.by, zoom.x + (partX * width) / zoom.by, zoom.y + (partY * height) / zoom.by);
    };
    const tools = document.createElement("p");
    tools.setAttribute("role", "group");
    tools.setAttribute("aria-label", "Enlarge and move the picture");
    const tool = (key, label, text, act) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.key = key;
      button.setAttribute("aria-label", label);
      button.textContent = text;
      button.addEventListener("click", act);
      tools.append(button, " ");
    };
    tool("zoom-in", "Enlarge the picture", "+", () => around(1.5));
    tool("zoom-out", "Make the picture smaller", "−", () => around(1 / 1.5));
    tool("zoom-left", "Move to the left", "←", () => move(-0.25, 0));
    tool("zoom-right", "Move to the right", "→", () => move(0.25, 0));
    tool("zoom-up", "Move up", "↑", () => move(0, -0.25));
    tool("zoom-down", "Move down", "↓", () => move(0, 0.25));
    tool("zoom-all", "Show all of the picture", "all", () => to(1, 0, 0));
    svg.closest(".scroll").before(tools);
    const at = (event) => {
      const box = svg.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    svg.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      around(event.deltaY < 0 ? 1.2 : 1 / 1.2, ...at(event));
    }, { passive: false });
    let drag = null;
    svg.addEventListener("pointerdown", (event) => {
      if (zoom && event.button === 0) drag = { from: at(event), zoom: { ...zoom }, moved: false };
    });
    svg.addEventListener("pointermove", (event) => {
      if (!drag) return;
      const [x, y] = at(event);
      const [dx, dy] = [x - drag.from[0], y - drag.from[1]];
      if (Math.abs(dx) + Math.abs(dy) < 0.005 && !drag.moved) return;
      drag.moved = true;
      to(drag.zoom.by, drag.zoom.x - (dx * width) / drag.zoom.by, drag.zoom.y - (dy * height) / drag.zoom.by);
    });
    const drop = () => {
      const moved = drag?.moved;
      drag = null;
      return moved;
    };
    // The click that ends a drag opens nothing; it comes at once or not at all.
    const swallow = (event) => {
      event.preventDefault();
      event.stopPropagation();
    };
    svg.addEventListener("pointerup", () => {
      if (!drop()) return;
      svg.addEventListener("click", swallow, { once: true, capture: true });
      setTimeout(() => svg.removeEventListener("click", swallow, { capture: true }));
    });
    svg.addEventListener("dragstart", (event) => event.preventDefault());
    // The lines of the item that is pointed at, or has the focus, and what is at their other ends.
    const light = (event) => {
      const item = event.target.closest?.("a.item");
      const at = event.type === "pointerout" || event.type === "focusout" ? null : item?.getAttribute("href").replace("#item-", "");
      const near = new Set();
      for (const line of svg.querySelectorAll(".edges path[data-of]")) {
        const ends = line.dataset.of.split(" ");
        const lit = at != null && ends.includes(at);
        line.classList.toggle("lit", lit);
        if (lit) ends.forEach((end) => near.add(end));
      }
      near.delete(at);
      for (const other of svg.querySelectorAll("a.item")) {
        other.classList.toggle("near", near.has(other.getAttribute("href").replace("#item-", "")));
      }
    };
    for (const name of ["pointerover", "pointerout", "focusin", "focusout"]) svg.addEventListener(name, light);
    svg.addEventListener("pointerleave", drop);
    show();
  };

  const openPanel = (title, from) => {
    log?.close();
    log = null;
    why = null;
    returnTo = { mark: markOf(from), part: from.closest("section")?.id };
    panel.hidden = false;
    document.body.classList.add("panelled");
    panelTitle.textContent = title;
    panelText.textContent = "";
    panelTitle.focus({ preventScroll: true });
  };

  const closePanel = () => {
    log?.close();
    log = null;
    why = null;
    panel.hidden = true;
    document.body.classList.remove("panelled");
    const section = byId(returnTo?.part);
    const same = section && withMark(section, returnTo.mark);
    if (same) same.focus({ preventScroll: true });
    else if (section) focusOn(section);
  };

  const showReasons = async (item) => {
    why = item;
    let text;
    try {
      const answer = await fetch("/why?item=" + encodeURIComponent(item), { cache: "no-store" });
      text = await answer.text();
    } catch {
      text = panelText.textContent || "lexpr does not answer any more.";
    }
    // Something else may have been asked for meanwhile.
    if (why === item && panelText.textContent !== text) panelText.textContent = text;
  };

  const showWhy = (item, title, from) => {
    openPanel(title, from);
    showReasons(item);
  };

  const showLog = (key, title, from) => {
    openPanel(title, from);
    const [job, attempt, ...gate] = key.split("/");
    log = new EventSource(`/log?job=${job}&attempt=${attempt}&gate=${encodeURIComponent(gate.join("/"))}`);
    log.onmessage = (event) => {
      const atEnd = panelText.scrollTop + panelText.clientHeight >= panelText.scrollHeight - 20;
      const text = panelText.textContent + JSON.parse(event.data);
      panelText.textContent = text.length > MOST_LOG ? "…" + text.slice(-MOST_LOG) : text;
      if (atEnd) panelText.scrollTop = panelText.scrollHeight;
    };
    log.addEventListener("end", () => {
      log?.close();
      if (!panelText.textContent) panelText.textContent = "It wrote nothing.";
    });
    log.onerror = () => {
      log?.close();
      if (!panelText.textContent) panelText.textContent = "There is no log.";
    };
  };

  document.addEventListener("click", (event) => {
    const item = event.target.closest("a.item");
    if (item) {
      event.preventDefault();
      showWhy(item.getAttribute("href").replace("#item-", ""), item.dataset.title, item);
      return;
    }
    const button = event.target.closest("button[data-log],button[data-why]");
    if (button?.dataset.log) showLog(button.dataset.log, button.dataset.title, button);
    else if (button) showWhy(button.dataset.why, button.dataset.title, button);
  });
  byId("panel-close").addEventListener("click", closePanel);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !panel.hidden) closePanel();
  });

  for (const section of document.querySelectorAll("section[id]")) known.set(section.id, null);
  const pyramid = byId("pyramid");
  if (pyramid) dressPyramid(pyramid);
  refresh();
  follow();
})();
