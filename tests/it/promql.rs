//! PromQL as far as the documentation and the dashboard speak it, read strictly and held against the metrics there are:
//! names, labels, the values of labels, what may be rated, and which vectors can meet. What it does not know it
//! refuses. Prometheus' own reader is asked beside it, where it is installed.

use std::collections::{BTreeMap, BTreeSet};

pub type Labels = BTreeSet<String>;

/// What one name of a sample stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    pub kind: Kind,
    /// Each with its values; none where they are not known beforehand.
    pub labels: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    /// Of a histogram, cumulative over `le`.
    Bucket,
    /// Worked out of others.
    Value,
}

/// All that can be asked for, by the full name of the sample.
pub type Known = BTreeMap<String, Series>;

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Is {
    Scalar,
    Instant(Labels, Kind),
    Range(Labels, Kind),
}

/// Reads the whole expression; gives what it comes to and the names of the samples in it.
pub fn read(expression: &str, known: &Known) -> Result<(Is, BTreeSet<String>), String> {
    let mut reader = Reader { tokens: tokens(expression)?, at: 0, known, used: BTreeSet::new() };
    let is = reader.binary(0)?;
    match reader.tokens.get(reader.at) {
        Some(token) => Err(format!("nothing is expected at {token:?}")),
        None => Ok((is, reader.used)),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(f64),
    Text(String),
    Word(String),
    /// What stands between brackets.
    Span(String),
    Sign(&'static str),
}

const SIGNS: [&str; 21] =
    ["==", "!=", ">=", "<=", "=~", "!~", "=", ">", "<", "+", "-", "*", "/", "%", "^", "(", ")", "{", "}", ",", "@"];

fn tokens(expression: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken = |wanted: fn(char) -> bool| rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        let end;
        if first == '#' {
            end = rest.find('\n').unwrap_or(rest.len());
        } else if first.is_ascii_digit() {
            end = taken(|c| c.is_ascii_digit() || c == '.');
            tokens.push(Token::Number(rest[..end].parse().map_err(|_| format!("no number: {}", &rest[..end]))?));
        } else if first.is_ascii_alphabetic() || first == '_' {
            end = taken(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
            tokens.push(Token::Word(rest[..end].to_owned()));
        } else if first == '"' {
            end = 2 + rest[1..].find('"').ok_or("a text is not closed")?;
            tokens.push(Token::Text(rest[1..end - 1].to_owned()));
        } else if first == '[' {
            end = 1 + rest.find(']').ok_or("a range is not closed")?;
            let span = &rest[1..end - 1];
            let number = span.strip_suffix(['s', 'm', 'h', 'd', 'w']).ok_or(format!("no duration: {span}"))?;
            number.parse::<u32>().map_err(|_| format!("no duration: {span}"))?;
            tokens.push(Token::Span(span.to_owned()));
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign)).ok_or(format!("no PromQL: {rest}"))?;
            end = sign.len();
            tokens.push(Token::Sign(sign));
        }
        rest = rest[end..].trim_start();
    }
    Ok(tokens)
}

/// Operators that bind alike, the loosest first (prometheus.io, "Operators", "Binary operator precedence").
const LEVELS: [&[&str]; 6] =
    [&["or"], &["and", "unless"], &["==", "!=", ">", "<", ">=", "<="], &["+", "-"], &["*", "/", "%"], &["^"]];

const AGGREGATES: [&str; 5] = ["sum", "avg", "max", "min", "count"];

struct Reader<'a> {
    tokens: Vec<Token>,
    at: usize,
    known: &'a Known,
    used: BTreeSet<String>,
}

/// Which labels two vectors meet by.
enum Matching {
    All,
    On(Labels),
    Ignoring(Labels),
}

impl Reader<'_> {
    fn sign(&mut self, wanted: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Sign(sign)) if *sign == wanted);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, wanted: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Word(word)) if word == wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        if self.sign(wanted) {
            return Ok(());
        }
        Err(format!("{wanted} is expected at {:?}", self.tokens.get(self.at)))
    }

    fn binary(&mut self, level: usize) -> Result<Is, String> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = operators.iter().find(|operator| self.sign(operator) || self.word(operator)) {
            let matching = self.matching()?;
            let right = self.binary(level + 1)?;
            left = meet(left, operator, &matching, right)?;
        }
        Ok(left)
    }

    fn matching(&mut self) -> Result<(Matching, bool), String> {
        let matching = if self.word("on") {
            Matching::On(self.names()?)
        } else if self.word("ignoring") {
            Matching::Ignoring(self.names()?)
        } else {
            Matching::All
        };
        Ok((matching, self.word("group_left")))
    }

    fn names(&mut self) -> Result<Labels, String> {
        self.expect("(")?;
        let mut names = Labels::new();
        while !self.sign(")") {
            let Some(Token::Word(name)) = self.tokens.get(self.at).cloned() else {
                return Err("a label is expected".into());
            };
            self.at += 1;
            names.insert(name);
            if !self.sign(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(names)
    }

    fn unary(&mut self) -> Result<Is, String> {
        if self.sign("(") {
            let inner = self.binary(0)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let token = self.tokens.get(self.at).cloned().ok_or("the expression ends too soon")?;
        self.at += 1;
        match token {
            Token::Number(_) => Ok(Is::Scalar),
            Token::Word(word) if AGGREGATES.contains(&&*word) => self.aggregate(&word),
            Token::Word(word) if matches!(self.tokens.get(self.at), Some(Token::Sign("("))) => self.call(&word),
            Token::Word(name) => self.selector(name),
            other => Err(format!("{other:?} is not expected")),
        }
    }

    fn aggregate(&mut self, how: &str) -> Result<Is, String> {
        let mut kept = self.grouping()?;
        self.expect("(")?;
        let inner = self.binary(0)?;
        self.expect(")")?;
        kept = kept.or(self.grouping()?);
        let Is::Instant(labels, kind) = inner else { return Err(format!("{how} is not over an instant vector")) };
        let (labels, named) = match kept {
            None => (Labels::new(), Labels::new()),
            Some((true, by)) => (by.clone(), &by - &labels),
            Some((false, without)) => (&labels - &without, &without - &labels),
        };
        if !named.is_empty() {
            return Err(format!("what {how} is over has no label {named:?}"));
        }
        Ok(Is::Instant(labels, if how == "sum" && kind == Kind::Bucket { Kind::Bucket } else { Kind::Value }))
    }

    /// True: these are kept; false: the others are.
    fn grouping(&mut self) -> Result<Option<(bool, Labels)>, String> {
        Ok(if self.word("by") {
            Some((true, self.names()?))
        } else if self.word("without") {
            Some((false, self.names()?))
        } else {
            None
        })
    }

    fn call(&mut self, function: &str) -> Result<Is, String> {
        self.expect("(")?;
        let mut arguments = Vec::new();
        while !self.sign(")") {
            arguments.push(self.binary(0)?);
            if !self.sign(",") {
                self.expect(")")?;
                break;
            }
        }
        match (function, &*arguments) {
            ("rate" | "increase" | "resets", [Is::Range(labels, kind @ (Kind::Counter | Kind::Bucket))]) => {
                let kind = if *kind == Kind::Bucket { Kind::Bucket } else { Kind::Value };
                Ok(Is::Instant(labels.clone(), kind))
            }
            ("avg_over_time" | "max_over_time" | "min_over_time", [Is::Range(labels, Kind::Gauge)]) => {
                Ok(Is::Instant(labels.clone(), Kind::Value))
            }
            ("histogram_quantile", [Is::Scalar, Is::Instant(labels, Kind::Bucket)]) if labels.contains("le") => {
                let mut labels = labels.clone();
                labels.remove("le");
                Ok(Is::Instant(labels, Kind::Value))
            }
            ("clamp_min" | "clamp_max", [Is::Instant(labels, _), Is::Scalar]) => {
                Ok(Is::Instant(labels.clone(), Kind::Value))
            }
            _ => Err(format!("{function} does not take {arguments:?}")),
        }
    }

    fn selector(&mut self, name: String) -> Result<Is, String> {
        let known = self.known;
        let series = known.get(&name).ok_or_else(|| format!("there is no metric {name}"))?;
        if self.sign("{") {
            while !self.sign("}") {
                self.matcher(&name, series)?;
                if !self.sign(",") {
                    self.expect("}")?;
                    break;
                }
            }
        }
        self.used.insert(name);
        let labels = series.labels.keys().cloned().collect();
        let is_range = matches!(self.tokens.get(self.at), Some(Token::Span(_)));
        self.at += usize::from(is_range);
        if self.word("offset") {
            self.duration()?;
        }
        Ok(if is_range { Is::Range(labels, series.kind) } else { Is::Instant(labels, series.kind) })
    }

    fn duration(&mut self) -> Result<(), String> {
        match self.tokens.get(self.at..self.at + 2) {
            Some([Token::Number(_), Token::Word(unit)]) if ["s", "m", "h", "d", "w"].contains(&&**unit) => {
                self.at += 2;
                Ok(())
            }
            other => Err(format!("no duration: {other:?}")),
        }
    }

    fn matcher(&mut self, name: &str, series: &Series) -> Result<(), String> {
        let Some([Token::Word(label), Token::Sign(sign), Token::Text(value)]) = self.tokens.get(self.at..self.at + 3)
        else {
            return Err(format!("no matcher at {:?}", self.tokens.get(self.at)));
        };
        let values = series.labels.get(label).ok_or_else(|| format!("{name} has no label {label}"))?;
        let named: Vec<&str> = match *sign {
            "=" | "!=" => vec![value],
            // Words alone can be held against what there is.
            "=~" | "!~" => value.split('|').filter(|word| !word.contains(['.', '*', '+', '$', '['])).collect(),
            other => return Err(format!("{other} matches nothing")),
        };
        if let Some(wrong) = named.into_iter().find(|word| !values.is_empty() && !values.contains(*word)) {
            return Err(format!("{label} of {name} is never {wrong}"));
        }
        self.at += 3;
        Ok(())
    }
}

fn meet(left: Is, operator: &str, (matching, many): &(Matching, bool), right: Is) -> Result<Is, String> {
    let is_set = matches!(operator, "and" | "or" | "unless");
    let (of_left, of_right) = match (left, right) {
        (Is::Scalar, Is::Scalar) if !is_set => return Ok(Is::Scalar),
        (Is::Scalar, Is::Instant(labels, _)) | (Is::Instant(labels, _), Is::Scalar) if !is_set => {
            return Ok(Is::Instant(labels, Kind::Value));
        }
        (Is::Instant(left, _), Is::Instant(right, _)) => (left, right),
        (left, right) => return Err(format!("{operator} does not take {left:?} and {right:?}")),
    };
    let met = match matching {
        Matching::All if of_left == of_right => of_left.clone(),
        Matching::On(on) if on.is_subset(&of_left) && on.is_subset(&of_right) => on.clone(),
        Matching::Ignoring(these) if &of_left - these == &of_right - these => &of_left - these,
        _ => return Err(format!("{of_left:?} and {of_right:?} never meet in {operator}")),
    };
    Ok(Is::Instant(if is_set || *many { of_left } else { met }, Kind::Value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let series = |kind, labels: &[(&str, &[&str])]| Series {
            kind,
            labels: labels
                .iter()
                .map(|(name, values)| ((*name).to_owned(), values.iter().map(|&value| value.to_owned()).collect()))
                .collect(),
        };
        BTreeMap::from([
            ("failed_total".to_owned(), series(Kind::Counter, &[("job", &[]), ("reason", &["conflict", "gate"])])),
            ("done_total".to_owned(), series(Kind::Counter, &[("job", &[])])),
            ("workers".to_owned(), series(Kind::Gauge, &[("job", &[])])),
            ("seconds_bucket".to_owned(), series(Kind::Bucket, &[("job", &[]), ("le", &["1", "+Inf"])])),
        ])
    }

    #[test]
    fn what_prometheus_would_answer_is_read() {
        for good in [
            "workers",
            "1 - sum(rate(failed_total{reason=~\"conflict|gate\"}[5m])) / sum(rate(done_total[5m]))",
            "sum by (job) (failed_total) / done_total > 0.5",
            "histogram_quantile(0.95, sum by (job, le) (rate(seconds_bucket[5m])))",
            "workers == 0 and on (job) sum without (reason) (increase(failed_total[1h])) > 0 # but why",
            "failed_total / ignoring (reason) group_left done_total",
            "max_over_time(workers[1d])",
            "done_total == done_total offset 45m",
        ] {
            read(good, &known()).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
    }

    #[test]
    fn what_would_answer_nothing_or_nonsense_is_refused_by_name() {
        for (bad, why) in [
            ("worker", "there is no metric worker"),
            ("workers{reason=\"gate\"}", "workers has no label reason"),
            ("failed_total{reason=\"gates\"}", "reason of failed_total is never gates"),
            ("failed_total{reason!~\"gate|conflicts\"}", "never conflicts"),
            ("rate(workers[5m])", "rate does not take"),
            ("rate(done_total)", "rate does not take"),
            ("max_over_time(done_total[5m])", "max_over_time does not take"),
            ("sum by (reason) (workers)", "no label {\"reason\"}"),
            ("histogram_quantile(0.5, sum by (job) (rate(seconds_bucket[5m])))", "histogram_quantile does not take"),
            ("histogram_quantile(0.5, rate(done_total[5m]))", "histogram_quantile does not take"),
            ("failed_total / done_total", "never meet"),
            ("failed_total / on (reason) done_total", "never meet"),
            ("sum(done_total[5m])", "not over an instant vector"),
            ("workers workers", "nothing is expected"),
            ("sum(workers", ") is expected"),
            ("workers[5x]", "no duration"),
            ("workers offset 5", "no duration"),
            ("workers +", "ends too soon"),
        ] {
            let error = read(bad, &known()).expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
