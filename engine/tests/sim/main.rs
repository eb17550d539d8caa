//! Simulation: the real shard machine between two in-memory clusters, under virtual time and faults drawn from a seed.
//!
//! Nothing waits and nothing is random but by the seed: a failure prints `SEED=…`, and
//! `SEED=… cargo test -p engine --test sim one_seed -- --nocapture` shows that run step by step.

mod checker;
mod rig;
mod scenarios;
mod translate;
mod workload;
mod world;

use world::World;

const SEEDS: u64 = 200;

/// Many seeds with random faults: every record once, in order.
#[test]
fn many_seeds() {
    let first = std::env::var_os("SIM_FIRST_SEED")
        .and_then(|first| first.to_str()?.parse().ok())
        .unwrap_or(1);
    let count = std::env::var_os("SIM_SEEDS")
        .and_then(|count| count.to_str()?.parse().ok())
        .unwrap_or(SEEDS);
    for seed in first..first + count {
        println!("SEED={seed}");
        let mut world = World::new(seed, false);
        world.run();
        if let Err(why) = checker::check(&world) {
            panic!("SEED={seed}: {why}");
        }
    }
}

/// One seed with its whole story, for understanding a failure of the other test.
#[test]
fn one_seed() {
    let Some(seed) = std::env::var_os("SEED").and_then(|seed| seed.to_str()?.parse().ok()) else {
        println!("SKIPPED: set SEED to replay one run");
        return;
    };
    let mut world = World::new(seed, true);
    world.run();
    checker::check(&world).unwrap();
}

/// Equal seeds give equal runs.
#[test]
fn a_seed_decides_everything() {
    let trace = |seed| {
        let mut world = World::new(seed, false);
        world.run();
        (world.steps(), world.target_bytes())
    };
    assert_eq!(trace(11), trace(11));
}
