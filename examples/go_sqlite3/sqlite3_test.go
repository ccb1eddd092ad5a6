package sqlite3

import "testing"

func TestSum(t *testing.T) {
	if sum, err := Sum(40, 2); err != nil || sum != 42 {
		t.Errorf("40 + 2 = %d, %v", sum, err)
	}
}
