package main

import "testing"

func TestCheck(t *testing.T) {
	if err := check(); err != nil {
		t.Error(err)
	}
}
