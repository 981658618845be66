package problem

import (
	"strings"
	"testing"
)

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
