package settings_test

import (
	"strings"
	"testing"

	"github.com/hark-push/hark/settings"
)

// TestCheck: what is set to nothing is told by its name, what is not read is nobody's business.
func TestCheck(t *testing.T) {
	type variables struct {
		Keys   string `env:"X_KEYS"`
		Listen string `env:"X_LISTEN"`
		Other  string
	}
	if err := settings.Check[variables]([]string{"X_KEYS=k", "X_OTHER=", "PATH=", "X_LISTENING="}); err != nil {
		t.Error(err)
	}
	err := settings.Check[variables]([]string{"X_KEYS=", "X_LISTEN= \t"})
	for _, want := range []string{"X_KEYS is set but empty: unset it", "X_LISTEN is set but empty"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
