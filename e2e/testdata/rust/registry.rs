//! Calls libregistry, which counts what is linked for being there.

extern "C" {
    fn registry_count() -> i32;
}

fn main() {
    let count = unsafe { registry_count() };
    println!("registry_count() = {count}");
    assert_eq!(count, 1);
}
