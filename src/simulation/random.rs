//! Numbers that look random and are the same for the same seed, on any machine (SplitMix64, Steele et al.,
//! "Fast splittable pseudorandom number generators", 2014).

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each list of words.
    pub fn of(words: &[u64]) -> Self {
        Self(words.iter().fold(GOLDEN, |state, word| mixed(state ^ word).wrapping_add(GOLDEN)))
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mixed(self.0)
    }

    /// From 0 to just below 1.
    pub fn unit(&mut self) -> f64 {
        const BITS: u32 = f64::MANTISSA_DIGITS;
        #[expect(clippy::cast_precision_loss, reason = "as many bits as a mantissa has")]
        let unit = (self.word() >> (u64::BITS - BITS)) as f64 / (1_u64 << BITS) as f64;
        unit
    }

    /// True with this probability.
    pub fn is(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Normally distributed around 0 with a variance of 1 (G. E. P. Box and M. E. Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Geometrically distributed, for a probability above 0.
    pub fn failures_before_success(&mut self, probability: f64) -> usize {
        if probability >= 1.0 {
            return 0;
        }
        let drawn = (1.0 - self.unit()).ln() / (-probability).ln_1p();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "beyond the largest it is the largest"
        )]
        let whole = drawn as usize;
        whole
    }
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
