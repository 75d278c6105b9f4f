//! What the programs promise where the system fails: nothing is lost, nothing is left behind, and whoever waits is told in
//! one line.
//!
//! Faults are made by a small library of ours (`inject.c`) that the test compiles and has loaded before the C library: it
//! makes the N-th write, sync or rename below a folder fail, or kills the program there. The programs are the real ones,
//! with nothing in them that knows of tests, and what is tested is what the system sees of them. (A seam in the code that
//! writes files would have tested that code alone, and only where it is used.)

#![cfg(target_os = "linux")]

#[path = "../common/attentive.rs"]
mod attentive;
mod damage;
mod disks;
mod faults;
mod injector;
mod maps;
mod memory;
mod outputs;
mod places;
mod threads;
mod training;
