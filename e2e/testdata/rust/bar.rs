//! Calls libbar.

extern "C" {
    fn bar_value() -> i32;
}

fn value() -> i32 {
    unsafe { bar_value() }
}

fn main() {
    println!("bar_value() = {}", value());
    assert_eq!(value(), 42);
}

#[cfg(test)]
mod tests {
    #[test]
    fn value() {
        assert_eq!(super::value(), 42);
    }
}
