//! Glimpse looks at a picture and says what it sees.
pub mod cpu;
pub mod error;
pub mod ops;
pub mod tensor;
