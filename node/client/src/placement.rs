//! Which partition a name belongs to.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The partition of a lock, queue or cache key: rendezvous hashing (Thaler and Ravishankar, "Using name-based
/// mappings to increase hit rates", 1998) with XXH3. The data on disk is placed by it: it never changes.
/// `partitions` of 0 counts as 1.
#[must_use]
pub fn partition_of(name: &str, partitions: u16) -> u16 {
    let weight = |partition: u16| xxh3_64_with_seed(name.as_bytes(), u64::from(partition));
    // The first of equals wins, which 64 bits will hardly ever need.
    (0..partitions).rev().max_by_key(|partition| weight(*partition)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::partition_of;

    #[test]
    fn never_changes() {
        let placed = |partitions| {
            ["", "a", "lock", "orders/42", "käse", "the quick brown fox jumps over the lazy dog"]
                .map(|name| partition_of(name, partitions))
        };
        assert_eq!(placed(1), [0; 6]);
        assert_eq!(placed(8), [2, 4, 2, 7, 7, 7]);
        assert_eq!(placed(64), [25, 45, 24, 48, 33, 10]);
    }

    #[test]
    fn spreads_names_evenly() {
        for partitions in [2_u16, 8, 64] {
            let mut names = vec![0_u32; usize::from(partitions)];
            for number in 0..64_000 {
                names[usize::from(partition_of(&format!("lock-{number}"), partitions))] += 1;
            }
            let even = 64_000 / u32::from(partitions);
            assert!(names.iter().all(|count| *count > even * 8 / 10 && *count < even * 12 / 10), "{names:?}");
        }
    }

    #[test]
    fn a_further_partition_takes_names_from_all_and_moves_no_other() {
        for number in 0..1000 {
            let name = format!("lock-{number}");
            let (before, after) = (partition_of(&name, 8), partition_of(&name, 9));
            assert!(after == before || after == 8);
        }
    }
}
