package authority_test

import (
	"net/url"
	"testing"

	"github.com/hark-push/hark/gateway/authority"
)

// FuzzValid: what is taken for a host is the host of the URL that is made of it, and nothing else
// of it.
func FuzzValid(f *testing.F) {
	for _, s := range []string{"localhost", "localhost:80", "[::1]:8080", "a@b", "a/b", "1.2.3.4", "::1", "a:0", "a:", "xn--bcher-kva.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !authority.Valid(text) {
			return
		}
		u, err := url.Parse("https://" + text + "/v1")
		if err != nil || u.Host != text || u.User != nil || u.Path != "/v1" || u.RawQuery != "" {
			t.Errorf("%q: %+v, %v", text, u, err)
		}
		if plain := authority.Plain("https", text); !authority.Valid(plain) {
			t.Errorf("%q without its port is %q", text, plain)
		}
	})
}
