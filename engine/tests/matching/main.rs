//! Pairing two logs: every way in which a target's log comes about, one by one and at random.

mod cases;
mod logs;
mod random;
