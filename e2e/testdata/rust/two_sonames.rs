//! Calls libfoo.so.2 by itself, and libfoo.so.1 through libbar.

extern "C" {
    fn bar_value() -> i32;
    fn foo_value() -> i32;
}

fn main() {
    let (bar, foo) = unsafe { (bar_value(), foo_value()) };
    println!("bar_value() = {bar}, foo_value() = {foo}");
    assert_eq!((bar, foo), (42, 100));
}
