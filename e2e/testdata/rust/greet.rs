//! Calls libgreet, whose symbol has two versions.

extern "C" {
    fn greet_level() -> i32;
}

fn main() {
    let level = unsafe { greet_level() };
    println!("greet_level() = {level}");
    assert_eq!(level, 2);
}
