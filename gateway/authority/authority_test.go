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
