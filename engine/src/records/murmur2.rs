//! The hash by which Kafka's producers choose a partition
//! (`org.apache.kafka.common.utils.Utils.murmur2`).

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;
const R: u32 = 24;

/// The hash of a key, as Java's signed integer.
pub fn murmur2(key: &[u8]) -> i32 {
    // Java hashes arrays, whose lengths fit 32 bits.
    let mut h = SEED ^ (key.len() as u32);
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, &byte) in tail.iter().enumerate() {
            h ^= u32::from(byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^= h >> 15;
    h.cast_signed()
}

/// The partition that Java's default partitioner writes a key to; none if there are no partitions.
pub fn partition_for(key: &[u8], partitions: i32) -> Option<i32> {
    (murmur2(key) & i32::MAX).checked_rem(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_java() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
        let key = br#"["MirrorSourceConnector",{"cluster":"A","partition":0,"topic":"t"}]"#;
        assert_eq!(partition_for(key, 25), Some(7));
        assert_eq!(partition_for(key, 0), None);
    }
}
