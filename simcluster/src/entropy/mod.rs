//! Keyed randomness: every draw is a frozen hash of (seed, purpose, entity, counter).
//!
//! There is no shared random stream: removing one fault or one operation from a plan leaves every other draw as it
//! was, which is what makes shrinking work. The function is frozen: changing it changes every seed's meaning and
//! therefore the generator version.

/// The source of all randomness of one simulation.
#[derive(Clone, Copy, Debug)]
pub struct Entropy {
    seed: u64,
}

impl Entropy {
    /// Randomness that depends on `seed` alone.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The draw number `counter` of `entity` for `purpose`.
    #[must_use]
    pub fn draw(&self, purpose: &str, entity: u64, counter: u64) -> u64 {
        let mut hash = mix(self.seed ^ 0x9e37_79b9_7f4a_7c15);
        for byte in purpose.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        mix(mix(mix(hash).wrapping_add(entity)).wrapping_add(counter))
    }

    /// A counter of its own for one purpose and entity.
    #[must_use]
    pub const fn dice(&self, purpose: &'static str, entity: u64) -> Dice {
        Dice { entropy: *self, purpose, entity, counter: 0 }
    }
}

/// Successive draws for one purpose and entity.
#[derive(Clone, Debug)]
pub struct Dice {
    entropy: Entropy,
    purpose: &'static str,
    entity: u64,
    counter: u64,
}

impl Dice {
    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.counter += 1;
        self.entropy.draw(self.purpose, self.entity, self.counter)
    }

    /// A number in `0..bound`; zero if `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Multiply-shift: the bias is below 2^-32 for every bound used here.
        u64::try_from((u128::from(self.next_u64()) * u128::from(bound)) >> 64).unwrap_or(0)
    }

    /// True with the given probability (0.0 never, 1.0 always).
    pub fn chance(&mut self, probability: f64) -> bool {
        const SCALE: f64 = 9_007_199_254_740_992.0; // 2^53, the precision of an f64
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let unit = (self.next_u64() >> 11) as f64 / SCALE;
        unit < probability
    }
}

/// The finaliser of splitmix64.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
