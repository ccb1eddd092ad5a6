package external_test

import (
	"testing"

	"example.com/m/external"
)

func TestOK(t *testing.T) {
	if external.OK != 0 {
		t.Error(external.OK)
	}
}
