//! Natural order of names: runs of digits compare by their value, so `pr-2` stands before `pr-10`.

use std::cmp::Ordering;

/// Compares by chunks (digits by value, everything else by bytes), then, for names that differ
/// only in leading zeros, by bytes: a total order that agrees with equality.
pub fn natural_cmp(left: &str, right: &str) -> Ordering {
    by_chunks(left.as_bytes(), right.as_bytes()).then_with(|| left.as_bytes().cmp(right.as_bytes()))
}

fn by_chunks(mut left: &[u8], mut right: &[u8]) -> Ordering {
    loop {
        match (left.first(), right.first()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(l), Some(r)) if l.is_ascii_digit() && r.is_ascii_digit() => {
                let (l_number, l_rest) = leading_number(left);
                let (r_number, r_rest) = leading_number(right);
                // Without leading zeros a longer number is a greater one.
                let order = l_number.len().cmp(&r_number.len()).then_with(|| l_number.cmp(r_number));
                if order.is_ne() {
                    return order;
                }
                (left, right) = (l_rest, r_rest);
            }
            (Some(l), Some(r)) if l == r => (left, right) = (&left[1..], &right[1..]),
            (Some(l), Some(r)) => return l.cmp(r),
        }
    }
}

/// The digits at the front without leading zeros, and what follows them.
fn leading_number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let zeros = text[..end].iter().position(|b| *b != b'0').unwrap_or(end);
    (&text[zeros..end], &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_in_names_compare_by_value() {
        let mut names = ["pr-10", "pr-2", "pr-02", "pr", "pr-1a", "pr-1", "a99999999999999999999999", "a9"];
        names.sort_by(|l, r| natural_cmp(l, r));
        assert_eq!(names, ["a9", "a99999999999999999999999", "pr", "pr-1", "pr-1a", "pr-02", "pr-2", "pr-10"]);
    }

    proptest! {
        #[test]
        fn natural_order_is_total(a in "[a0-2]{0,6}", b in "[a0-2]{0,6}", c in "[a0-2]{0,6}") {
            prop_assert_eq!(natural_cmp(&a, &b), natural_cmp(&b, &a).reverse());
            prop_assert_eq!(natural_cmp(&a, &b).is_eq(), a == b);
            if natural_cmp(&a, &b).is_le() && natural_cmp(&b, &c).is_le() {
                prop_assert!(natural_cmp(&a, &c).is_le());
            }
        }
    }
}
