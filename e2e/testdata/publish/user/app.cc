#include <shapes/shape.h>

#include <iostream>

int main() { std::cout << shapes::describe_circle(10, GEOMETRY_UNIT) << std::endl; }
