//! The forecast of a run: a dry run, and beside it which items clash with which and where, what many of them
//! touch, an order in which more of them would land, and what it will all cost. Whoever looked fills
//! [`ForecastReport`] in; here it is only shown.

mod html;
mod text;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dry_run::{DryRun, DryRunItem, Forecast};
use crate::vocabulary::clash::ClashPlace;
use crate::vocabulary::names::ItemName;
use crate::wording::{Paint, count, duration, list, shown};

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForecastReport {
    #[serde(flatten)]
    pub dry_run: DryRun,
    #[serde(flatten)]
    pub outlook: Outlook,
}

/// What a forecast says beyond a dry run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outlook {
    pub pairs: PairCounts,
    /// In canonical order of both items.
    pub clashes: Vec<Clash>,
    /// Paths that several items change: those of most items first.
    pub hotspots: Vec<Hotspot>,
    pub order: OrderAdvice,
    /// Passes known from earlier runs, that need not be found again.
    pub known_verdicts: u32,
    pub cost: Costs,
}

/// Which pairs were merged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PairCounts {
    /// Pairs that share a path or commits, or of which one changes what the other needs: each was merged, the
    /// earlier of the two onto the base and the later onto that. All others merge.
    pub compared: u32,
    pub clashing: u32,
    /// There were more than are merged for one forecast; those of the last items were left out.
    pub is_cut: bool,
    /// Items that do not merge onto the base by themselves, or would change nothing: in no pair.
    pub apart: Vec<ItemName>,
    /// Pairs at which git itself broke down.
    pub undecided: Vec<(ItemName, ItemName)>,
}

/// Two items that do not merge with each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Clash {
    /// The earlier of the two in canonical order.
    pub first: ItemName,
    pub second: ItemName,
    /// The clash is one of these two, on which the items build.
    pub inherited_from: Option<(ItemName, ItemName)>,
    /// By path.
    pub places: Vec<ClashPlace>,
}

/// A path that several items change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hotspot {
    pub path: String,
    /// In canonical order.
    pub items: Vec<ItemName>,
    /// How many clashes there are at it, inherited ones aside.
    pub clashes: u32,
}

/// What the order comes to, and a better one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderAdvice {
    /// Items that would not land, though they merge onto the base: they clash with what lands before them, or
    /// depend on one that does.
    pub set_aside: Vec<ItemName>,
    /// An order in which fewer, or less important ones, are set aside; merged, to be sure.
    pub suggestion: Option<Suggestion>,
}

/// What other priorities would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Suggestion {
    pub priorities: Vec<SuggestedPriority>,
    /// All items that may land, in the order that these priorities give.
    pub order: Vec<ItemName>,
    pub set_aside: Vec<ItemName>,
    /// No order sets less aside, as far as pairs tell.
    pub is_least: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuggestedPriority {
    pub item: ItemName,
    pub priority: i64,
}

/// What the run will likely cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Costs {
    /// How often an item fails, from 0 to 1.
    pub failure_rate: f64,
    pub failure_rate_is: RateBasis,
    /// Distinct gates, and how many of them never ran here: their durations are guessed.
    pub gates: u32,
    pub gates_of_unknown_duration: u32,
    pub critical_path: CriticalPath,
    /// What each strategy by which the plan can land would cost; empty where nothing is gated.
    pub strategies: Vec<StrategyCost>,
    /// How many simulated runs of each that is the mean of; 0 where the plan is so large that it comes from formulas.
    pub simulated_runs: u32,
    /// How many items the groups have that are priced; `null`: as with `groupSize: auto`.
    pub group_size: Option<u32>,
    /// The strategy that the plan asks for.
    pub landing: StrategyWord,
    /// What the plan wants to save.
    pub spend: SpendWord,
    /// The strategy that saves most of it.
    pub cheapest: Option<StrategyWord>,
}

/// Where the failure rate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RateBasis {
    /// Nothing is known: what is usual elsewhere.
    Assumed,
    /// Earlier runs of the repository.
    Remembered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SpendWord {
    Gates,
    Time,
}

/// Items that are gated one after another, and no run is shorter than that.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CriticalPath {
    pub items: Vec<ItemName>,
    pub ms: u64,
}

/// A way to land, as `policy.landing` and `policy.groupSize` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StrategyWord {
    Pyramid,
    /// The pyramid with groups.
    PyramidGroups,
    Batch,
    Train,
}

/// What a strategy would likely cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StrategyCost {
    pub strategy: StrategyWord,
    /// Expected runs of gates, but for second opinions.
    pub gate_runs: f64,
    /// Expected second opinions: failures run once more before an item is ejected.
    pub confirmations: f64,
    /// What they all take, one after another.
    pub gate_ms: u64,
    /// From the first to the last of them.
    pub makespan_ms: u64,
}

/// What the summary of a dry run says of the forecast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutlookInShort {
    pub compared_pairs: u32,
    pub clashing_pairs: u32,
    /// More pairs share a path than were merged.
    pub is_cut: bool,
    /// The path that most items change, where several do.
    pub hotspot: Option<HotspotInShort>,
    /// Items that other priorities would let land.
    pub saved_by_other_order: u32,
    pub known_verdicts: u32,
    /// Distinct gates, and how many of them never ran here: their durations are guessed.
    #[serde(default)]
    pub gates: u32,
    #[serde(default)]
    pub gates_of_unknown_duration: u32,
    /// Of the strategy that the plan asks for.
    pub expected: Option<StrategyCost>,
    /// Of the cheapest, where that is another one and this lexpr knows it.
    pub cheaper: Option<StrategyCost>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HotspotInShort {
    pub path: String,
    pub items: u32,
}

impl ForecastReport {
    /// For a terminal. Ends with a newline.
    pub fn text(&self, paint: Paint) -> String {
        text::render(self, paint)
    }

    /// One page that needs nothing else. Ends with a newline.
    pub fn html(&self) -> String {
        html::render(self)
    }

    /// Ends with a newline.
    pub fn json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("a report has string keys and finite numbers");
        json.push('\n');
        json
    }

    /// What was merged besides pairs: `10 cones, 1 apex`.
    fn composites(&self) -> String {
        let cones = self.dry_run.items.iter().filter(|item| item.cone.is_some()).count();
        let parts = [(cones, "cone"), (self.dry_run.groups.len(), "group")];
        let parts = parts.into_iter().filter(|(number, _)| *number > 0).map(|(number, what)| count(number, what));
        let apexes = match self.dry_run.apexes.len() {
            0 => "no apex".to_owned(),
            1 => "1 apex".to_owned(),
            more => format!("{more} apexes"),
        };
        list(parts.chain([apexes]))
    }

    /// `apex 1: 6 items as 24b01c69de`, for each.
    fn apexes(&self) -> impl Iterator<Item = String> {
        self.dry_run.apexes.iter().enumerate().map(|(at, apex)| {
            format!("apex {}: {} as {}", at + 1, count(apex.items.len(), "item"), apex.commit.short())
        })
    }

    /// The items that may land: what could clash.
    fn open_items(&self) -> impl Iterator<Item = &DryRunItem> {
        self.dry_run.items.iter().filter(|item| item.forecast != Forecast::AlreadyLanded)
    }

    /// The clash of two items, whichever is the earlier.
    fn clash(&self, one: &ItemName, other: &ItemName) -> Option<&Clash> {
        let is_it = |clash: &&Clash| {
            (&clash.first == one && &clash.second == other) || (&clash.first == other && &clash.second == one)
        };
        self.outlook.clashes.iter().find(is_it)
    }
}

impl Outlook {
    pub fn in_short(&self) -> OutlookInShort {
        let hotspot = self.hotspots.first();
        let cost = |word| self.cost.strategies.iter().find(|cost| cost.strategy == word).cloned();
        let saved = self
            .order
            .suggestion
            .as_ref()
            .map_or(0, |better| self.order.set_aside.len().saturating_sub(better.set_aside.len()));
        let asked = self.cost.landing;
        OutlookInShort {
            compared_pairs: self.pairs.compared,
            clashing_pairs: self.pairs.clashing,
            is_cut: self.pairs.is_cut,
            hotspot: hotspot.map(|spot| HotspotInShort { path: spot.path.clone(), items: narrow(spot.items.len()) }),
            saved_by_other_order: narrow(saved),
            known_verdicts: self.known_verdicts,
            gates: self.cost.gates,
            gates_of_unknown_duration: self.cost.gates_of_unknown_duration,
            expected: cost(asked),
            cheaper: self.cost.cheapest.filter(|cheapest| *cheapest != asked).and_then(cost),
        }
    }
}

impl OutlookInShort {
    /// Some sentences, each a line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut clashes = if self.compared_pairs == 0 {
            "no two items share a path".to_owned()
        } else {
            let cut = if self.is_cut { " (the others were left out)" } else { "" };
            format!("{} of {} that share a path clash{cut}", self.clashing_pairs, count_of(self.compared_pairs, "pair"))
        };
        if let Some(hotspot) = &self.hotspot {
            clashes.push_str(&format!("; {} change {}", count_of(hotspot.items, "item"), shown(&hotspot.path)));
        }
        lines.push(clashes);
        if self.saved_by_other_order > 0 {
            lines.push(format!(
                "{} more would land with other priorities: `lexpr forecast` names them",
                count_of(self.saved_by_other_order, "item")
            ));
        }
        if let Some(expected) = &self.expected {
            let mut cost = format!("expected: {}", expected.words());
            if let Some(cheaper) = &self.cheaper {
                cost.push_str(&format!("; {}: {}", cheaper.strategy.words(), cheaper.words()));
            }
            if self.gates_of_unknown_duration > 0 {
                cost.push_str(&format!("; {}", durations_of(self.gates, self.gates_of_unknown_duration)));
            }
            lines.push(cost);
        }
        if self.known_verdicts > 0 {
            lines.push(format!("{} known already", count_of(self.known_verdicts, "verdict")));
        }
        lines
    }
}

impl StrategyCost {
    /// `about 31 gate runs in 4m 05s`.
    fn words(&self) -> String {
        format!("about {} in {}", count(whole(self.gate_runs), "gate run"), duration(self.makespan_ms))
    }
}

impl Costs {
    /// What a strategy is called, with the size of its groups, and what it spends where it may spend either.
    fn words(&self, strategy: StrategyWord) -> String {
        let spend = match self.spend {
            SpendWord::Gates => "spend: gates",
            SpendWord::Time => "spend: time",
        };
        match (strategy, self.group_size) {
            (StrategyWord::PyramidGroups, Some(size)) => format!("{} of {size}, {spend}", strategy.words()),
            (StrategyWord::PyramidGroups | StrategyWord::Batch, _) => format!("{}, {spend}", strategy.words()),
            (StrategyWord::Pyramid | StrategyWord::Train, _) => strategy.words().to_owned(),
        }
    }

    /// What the figures rest on.
    fn grounds(&self) -> String {
        let rate = match self.failure_rate_is {
            RateBasis::Assumed => "assumed",
            RateBasis::Remembered => "remembered",
        };
        let durations = durations_of(self.gates, self.gates_of_unknown_duration);
        format!("failure rate {:.1} %, {rate}; {durations}", self.failure_rate * 100.0)
    }

    /// Where the figures come from.
    fn basis(&self) -> String {
        match self.simulated_runs {
            0 => "by formulas, as the plan is large".to_owned(),
            runs => format!("the mean of {} in virtual time", count_of(runs, "simulated run")),
        }
    }
}

/// Whether what `number` gates take is known or, of so many, guessed.
fn durations_of(number: u32, guessed: u32) -> String {
    let gates = count_of(number, "gate");
    match guessed {
        0 => format!("durations of {gates}, remembered"),
        guessed if guessed == number => format!("durations of {gates}, guessed"),
        guessed => format!("durations of {gates}, {} remembered and {guessed} guessed", number.saturating_sub(guessed)),
    }
}

impl StrategyWord {
    pub fn words(self) -> &'static str {
        match self {
            Self::Pyramid => "pyramid",
            Self::PyramidGroups => "pyramid in groups",
            Self::Batch => "batch",
            Self::Train => "train",
        }
    }
}

impl SpendWord {
    fn words(self) -> &'static str {
        match self {
            Self::Gates => "fewest gate runs",
            Self::Time => "shortest run",
        }
    }
}

impl OrderAdvice {
    /// What is set aside, and what could be done about it, a sentence each.
    fn sentences(&self) -> Vec<String> {
        if self.set_aside.is_empty() {
            return Vec::new();
        }
        let all = |names: &[ItemName]| list(names.iter().map(ItemName::as_str));
        let mut sentences = vec![format!(
            "In this order {} would be set aside: {}.",
            count(self.set_aside.len(), "item"),
            all(&self.set_aside)
        )];
        match &self.suggestion {
            Some(better) => {
                sentences.push(format!(
                    "With {} it would be {}: {}.",
                    better.priorities_in_words(),
                    count(better.set_aside.len(), "item"),
                    all(&better.set_aside)
                ));
                if !better.is_least {
                    sentences.push("There may be a better order yet: the search was given up.".to_owned());
                }
            }
            None => sentences.push(
                "No priorities found would let more of them land: rebase them onto what they clash with, or let them \
                 depend on it."
                    .to_owned(),
            ),
        }
        sentences
    }
}

impl Suggestion {
    /// `priority -1 for a, b and priority 2 for c`.
    fn priorities_in_words(&self) -> String {
        let mut by_priority: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
        for SuggestedPriority { item, priority } in &self.priorities {
            by_priority.entry(*priority).or_default().push(item.as_str());
        }
        let words = by_priority.into_iter().map(|(priority, items)| format!("priority {priority} for {}", list(items)));
        words.collect::<Vec<_>>().join(" and ")
    }
}

impl Clash {
    /// `src/a.rs lines 3-5 and 7`, for each place; only as many as `most`.
    fn place_words(&self, most: usize) -> Vec<String> {
        let mut words: Vec<String> = self.places.iter().take(most).map(place_words).collect();
        if self.places.len() > most {
            words.push(format!("and {} more", self.places.len() - most));
        }
        words
    }
}

/// `src/a.rs (contents): lines 3-5 against 7`.
fn place_words(place: &ClashPlace) -> String {
    /// The first of many conflicts in a file say where it is about.
    const MOST_HUNKS: usize = 4;
    let mut words = shown(&place.path).into_owned();
    if !place.kind.is_empty() && place.kind != "contents" {
        words.push_str(&format!(" ({})", shown(&place.kind)));
    }
    if !place.hunks.is_empty() {
        let hunks = place.hunks.iter().take(MOST_HUNKS).map(|hunk| format!("{} against {}", hunk.first, hunk.second));
        words.push_str(&format!(": lines {}", hunks.collect::<Vec<_>>().join(", ")));
        if place.hunks.len() > MOST_HUNKS {
            words.push_str(&format!(" and {} more", place.hunks.len() - MOST_HUNKS));
        }
    }
    words
}

/// The JSON schema of [`ForecastReport`], as `schemas/forecast.schema.json` holds it.
pub fn forecast_schema() -> String {
    super::schema_text(&schemars::schema_for!(ForecastReport))
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn count_of(number: u32, noun: &str) -> String {
    count(number as usize, noun)
}

/// A number of runs, of which there are no parts.
fn whole(number: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an expectation, far below 2^52")]
    {
        number.round().max(0.0) as usize
    }
}
