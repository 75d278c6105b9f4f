//! Tests of the programs' promises when the system fails: nothing is lost, nothing is left behind, and the user gets a
//! message of one line.
//!
//! A small library of ours (`inject.c`), which the tests compile and preload, makes faults: it makes the N-th write,
//! sync or rename below a folder fail, or kills the program there. The programs are the real ones, without any code for
//! tests, and the tests see what the system sees of them. (An interface for tests in the code that writes files would
//! test only that code.)

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
