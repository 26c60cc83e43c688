//! Memory: transparent huge pages and swapping.

use super::About;
use crate::{Facts, Finding, Severity};

pub(super) fn huge_pages(facts: &Facts) -> Finding {
    let about = About {
        id: "huge_pages",
        wanted: "madvise or never",
        effect: "compaction for huge pages stalls a shard for milliseconds and grows its memory",
        remedy: "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
    };
    about.judge(facts.huge_pages.clone(), |h| h != "always", Severity::Advice)
}

pub(super) fn swappiness(facts: &Facts) -> Finding {
    let about = About {
        id: "swappiness",
        wanted: "<= 1, or no swap",
        effect: "a swapped-out tail is read back page by page on the shard's own core",
        remedy: "sysctl -w vm.swappiness=1, or swapoff -a",
    };
    if facts.swap_active == Some(false) {
        return about.finding(Severity::Ok, "no swap");
    }
    about.judge(facts.swappiness, |&v| v <= 1, Severity::Advice)
}
