package authority_test

import (
	"testing"

	"github.com/hark-push/hark/gateway/authority"
)

func TestValid(t *testing.T) {
	for _, text := range []string{
		"push.example.org", "push.example.org:8443", "PUSH.example", "push.example.", "xn--bcher-kva.example", "a_b", "192.0.2.1:80", "[2001:db8::1]", "[2001:db8::1]:65535",
	} {
		if !authority.Valid(text) {
			t.Errorf("%q is refused", text)
		}
	}
	for _, text := range []string{
		"", ":80", "a:", "a:0", "a:65536", "a:x", "a:-1", "a:b:c", "2001:db8::1", "[2001:db8::1", "[2001:db8::1]8080", "[]", "[a]", "[::1]:", "bücher.example", "a\xff",
		"a%0d%0ax", "a%20b", "a b", "a,b", "a/b", "a?b", "a#b", "u@a", "a\\b", "a\x00", "a\r\nb", "<a>",
	} {
		if authority.Valid(text) {
			t.Errorf("%q passes", text)
		}
	}
}

func TestPlain(t *testing.T) {
	for _, c := range []struct{ scheme, host, want string }{
		{"http", "a.example:80", "a.example"},
		{"https", "a.example:443", "a.example"},
		{"http", "a.example:443", "a.example:443"},
		{"https", "a.example:80", "a.example:80"},
		{"https", "[::1]:443", "[::1]"},
		{"http", "a.example", "a.example"},
		{"http", "a.example:8080", "a.example:8080"},
		{"ftp", "a.example:80", "a.example:80"},
		{"http", "", ""},
	} {
		if got := authority.Plain(c.scheme, c.host); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.scheme, c.host, got, c.want)
		}
	}
}
