//! Caches in memory, bounded in size and time, that can say how well they work. What they hold
//! can always be made again: a miss costs time and nothing else.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::policy::EvictionPolicy;

/// How often a cache was asked and what came of it, counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
    pub entries: u64,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
}

/// A cache of at most `capacity` entries, each for at most a time to live. Cheap to clone; clones
/// share their entries.
#[derive(Clone, Debug)]
pub struct Cache<K: Hash + Eq + Send + Sync + 'static, V: Clone + Send + Sync + 'static> {
    entries: moka::sync::Cache<K, V>,
    counters: Arc<Counters>,
}

impl<K: Hash + Eq + Send + Sync + 'static, V: Clone + Send + Sync + 'static> Cache<K, V> {
    pub fn new(capacity: u64, time_to_live: Duration) -> Self {
        Self::build(capacity, Some(time_to_live))
    }

    /// For what stays true: entries go for lack of room alone.
    pub fn without_expiry(capacity: u64) -> Self {
        Self::build(capacity, None)
    }

    fn build(capacity: u64, time_to_live: Option<Duration>) -> Self {
        let counters = Arc::new(Counters::default());
        let evicted = Arc::clone(&counters);
        let count = move |_, _, cause: moka::notification::RemovalCause| {
            if cause.was_evicted() {
                evicted.evictions.fetch_add(1, Ordering::Relaxed);
            }
        };
        let mut builder = moka::sync::Cache::builder()
            .max_capacity(capacity)
            // Whatever was made or asked for last is asked for next.
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(count);
        if let Some(time_to_live) = time_to_live {
            builder = builder.time_to_live(time_to_live);
        }
        Self { entries: builder.build(), counters }
    }

    /// Counted as one hit or one miss, however many of `keys` are asked for: the first that is
    /// known, with its position. A hit is the first of them.
    pub fn first_of<'a>(&self, keys: impl Iterator<Item = &'a K>) -> Option<(usize, V)> {
        let found = keys.enumerate().find_map(|(at, key)| self.entries.get(key).map(|value| (at, value)));
        let counter = if matches!(found, Some((0, _))) { &self.counters.hits } else { &self.counters.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    pub fn get(&self, key: &K) -> Option<V> {
        let found = self.entries.get(key);
        let counter = if found.is_some() { &self.counters.hits } else { &self.counters.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    pub fn insert(&self, key: K, value: V) {
        self.entries.insert(key, value);
    }

    pub fn stats(&self) -> CacheStats {
        self.entries.run_pending_tasks();
        CacheStats {
            hits: self.counters.hits.load(Ordering::Relaxed),
            misses: self.counters.misses.load(Ordering::Relaxed),
            evictions: self.counters.evictions.load(Ordering::Relaxed),
            entries: self.entries.entry_count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_misses_and_evictions_are_counted() {
        let cache: Cache<u32, u32> = Cache::new(2, Duration::from_secs(60));
        assert_eq!(cache.get(&1), None);
        cache.insert(1, 10);
        assert_eq!(cache.get(&1), Some(10));
        for key in 2..20 {
            cache.insert(key, key);
        }
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses), (1, 1));
        assert!(stats.entries <= 2, "{stats:?}");
        assert_eq!(stats.evictions, 19 - stats.entries);
    }

    #[test]
    fn an_entry_does_not_outlive_its_time() {
        let cache: Cache<u32, u32> = Cache::new(2, Duration::ZERO);
        cache.insert(1, 10);
        assert_eq!(cache.get(&1), None);
    }
}
