//! What the system gives this process while it works: it stays what it was, however long the work goes on.
//!
//! A test binary of its own with one test, for memory is the process's and others would be seen too.

use glimpse::caption::{Search, search};
use glimpse::model::Captioner;
use glimpse::nn::Init;

/// Bytes that the process has of the machine's memory, where the system tells.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes << 10)
}

#[test]
fn captioning_many_images_takes_no_more_memory_than_captioning_a_few() {
    let captioner = Captioner::bundled().unwrap();
    let size = captioner.decoder.config().features;
    let features = Init::new(1).normal(&[8, size], 1.0);
    let caption = |times: usize| {
        for _ in 0..times {
            search(&captioner, &features, &Search::default()).unwrap();
        }
        resident()
    };
    let (Some(few), Some(many)) = (caption(20), caption(100)) else {
        println!("skipped: this system does not tell how much memory a process has");
        return;
    };
    let grown = many.saturating_sub(few) >> 20;
    assert!(grown < 16, "{grown} MiB more after 800 images more");
}
