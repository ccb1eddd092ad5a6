//! Calls libplatform, which needs libraries of the system.

extern "C" {
    fn platform_check(two: f64) -> i32;
}

fn main() {
    let check = unsafe { platform_check(2.0) };
    println!("platform_check(2) = {check}");
    assert_eq!(check, 0);
}
