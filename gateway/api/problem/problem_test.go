package problem

import (
	"strings"
	"testing"
)

// TestMoreErrors: no more is told than a hundred things that are wrong, and how many others are.
func TestMoreErrors(t *testing.T) {
	p := InvalidFields(make([]FieldError, MaxErrors+3)...)
	if len(p.Errors) != MaxErrors || !strings.Contains(string(p.JSON("")), `"moreErrors":3`) {
		t.Errorf("%d are told: %s", len(p.Errors), p.JSON(""))
	}
}

// FuzzInstance: what a problem says that it is about is a URI reference.
func FuzzInstance(f *testing.F) {
	for _, s := range []string{"/v1/requests/a", "/\xff", `/<"\`, "/%zz", "/ä"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, path []byte) {
		for _, c := range []byte(Instance(path)) {
			if c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>\^{|}`+"`", c) >= 0 {
				t.Fatalf("%q is %q", path, Instance(path))
			}
		}
	})
}
