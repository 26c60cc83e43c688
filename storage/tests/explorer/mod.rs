//! The crash explorer: records every operation of random lives of a store, builds the disks that a crash could leave, and recovers each of them.
//!
//! A seed has several lives. Of each life every event of the disk is recorded, from recovery on. At the barriers images are built: all subsets
//! of what was not durable when that are few, else random ones, with torn and garbage sectors; and what the next process finds when only the
//! process died. Each is recovered and checked (`check.rs`) against what was promised by that event (`history.rs`).

mod check;
mod compacted;
mod history;
mod image;
mod trace;
mod workload;

use std::time::{Duration, Instant};

use coreline_storage::io::sim::{Recording, Rng, SimDisk};
use futures_lite::future::block_on;

use history::expectations;
use workload::World;

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Barriers of a life at most; chosen at random where there are more.
    pub(crate) points_max: usize,
    /// All subsets up to so many pending things.
    pub(crate) exhaustive_max: usize,
    /// Random images at a barrier with more.
    pub(crate) random_images: usize,
    /// Lives of a seed at most.
    pub(crate) lives_max: u64,
}

impl Effort {
    /// For the tests.
    pub(crate) const QUICK: Effort = Effort { points_max: 8, exhaustive_max: 2, random_images: 3, lives_max: 4 };
    /// For the long run.
    pub(crate) const LONG: Effort = Effort { points_max: 60, exhaustive_max: 10, random_images: 12, lives_max: 6 };
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Explored {
    pub(crate) seeds: u64,
    pub(crate) lives: u64,
    pub(crate) barriers: u64,
    pub(crate) images: u64,
    /// Of the images: whole sets of subsets.
    pub(crate) exhaustive_points: u64,
    /// Of the images: the process died, not the power.
    pub(crate) kills: u64,
    pub(crate) second_crashes: u64,
    /// Of the images: a compaction was interrupted, its files wait beside the segments.
    pub(crate) exchanges: u64,
    /// Compactions that replaced segments, in all lives.
    pub(crate) compactions: u64,
    /// Segments that went below log starts, in all lives.
    pub(crate) segments_removed: u64,
    /// Deleted logs whose directories were removed, in all lives.
    pub(crate) logs_removed: u64,
    /// Of all events, the order of everything that happened.
    pub(crate) hash: u64,
}

/// What is wrong, and how to see it again.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) images: u64,
    pub(crate) text: String,
}

/// All lives of one seed; ends at the first failure or when `images_max` are done. `total` counts.
pub(crate) fn explore(seed: u64, effort: Effort, images_max: u64, total: &mut Explored) -> Result<(), Failure> {
    let world = World::new(seed);
    let mut choose = Rng::new(seed ^ 0x5eed_0f1a_a9e5_0000);
    let mut disk = SimDisk::new(seed);
    disk.mkdir(check::ROOT);
    total.seeds += 1;
    check::first_opening(seed);
    let fail = |text: String, images: u64| Err(Failure { seed, images, text });
    for life in 0..2 + choose.below(effort.lives_max - 1) {
        total.lives += 1;
        disk.set_delay(1 + choose.below(6));
        disk.set_slow([0, 0, 5, 25][choose.below(4) as usize]);
        disk.record();
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| block_on(workload::live(&world, &disk))));
        let recording = disk.take_recording().expect("it was recording");
        total.hash = trace::hash(total.hash, &recording);
        match lived {
            Ok(Ok(cleaned)) => {
                total.compactions += cleaned.compactions;
                total.segments_removed += cleaned.segments_removed;
                total.logs_removed += cleaned.logs_removed;
            }
            Ok(Err(why)) => return fail(format!("life {life}: {why}"), total.images),
            Err(panic) => return fail(format!("life {life}: panic: {:?}", panic.downcast_ref::<String>()), total.images),
        }
        let next = match look_at(&world, &recording, effort, images_max, &mut choose, total) {
            Ok(next) => next,
            Err(why) => return fail(format!("life {life}, {why}"), total.images),
        };
        let Some((survivor, histories)) = next else { return Ok(()) };
        world.begin(histories);
        disk = survivor;
    }
    Ok(())
}

type Next = Option<(SimDisk, history::Histories)>;

/// All images of one life; answers with the one that the next life begins with.
fn look_at(
    world: &World,
    recording: &Recording,
    effort: Effort,
    images_max: u64,
    choose: &mut Rng,
    total: &mut Explored,
) -> Result<Next, String> {
    let points = image::points(recording, effort.points_max, choose);
    let last = *points.last().expect("at least the end");
    let next_at = if choose.percent(40) { last } else { points[choose.below(points.len() as u64) as usize] };
    let histories = world.histories.borrow();
    let mut next = None;
    let mut sweep = recording.sweep();
    for point in points {
        while sweep.events() < point && sweep.step() {}
        total.barriers += 1;
        let expected = expectations(&histories, point);
        let plans = image::plans(&sweep, effort, choose);
        total.exhaustive_points += u64::from(plans.exhaustive);
        for plan in plans.list {
            if total.images >= images_max {
                return Ok(None);
            }
            let seed = choose.next_u64();
            let again = choose.percent(50);
            total.images += 1;
            total.kills += u64::from(plan.kill);
            total.second_crashes += u64::from(again);
            let image = plan.image(&sweep);
            total.exchanges += u64::from(image.files().iter().any(|f| f.to_string_lossy().contains(".compacted.")));
            let tried = check::check(&image, &world.setup, &expected, plan.kill, seed, again);
            if let Err(why) = tried {
                let fails =
                    |plan: &image::Plan| check::check(&plan.image(&sweep), &world.setup, &expected, plan.kill, seed, again).is_err();
                let least = plan.shrink(&fails);
                return Err(format!("crash at event {point}: {why}\n{}", trace::describe(recording, &sweep, &least)));
            }
        }
        if point == next_at {
            let plan = image::Plan::random(&sweep, choose);
            let survivor = plan.image(&sweep);
            let outcome = check::check(&survivor, &world.setup, &expected, plan.kill, choose.next_u64(), false)
                .map_err(|why| format!("crash at event {point}: {why}\n{}", trace::describe(recording, &sweep, &plan)))?;
            next = Some((survivor, history::recovered(&histories, &expected, &outcome)));
        }
    }
    Ok(next)
}

/// Explores seeds from `first` on until `images` images were looked at.
pub(crate) fn run(first: u64, images: u64, effort: Effort) -> (Explored, Duration, Option<Failure>) {
    // Panics are results here; their text comes with the failure.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let mut total = Explored::default();
    let mut failure = None;
    let mut seed = first;
    while total.images < images && failure.is_none() {
        failure = explore(seed, effort, images, &mut total).err();
        seed += 1;
    }
    std::panic::set_hook(hook);
    (total, began.elapsed(), failure)
}
