package auth

import "testing"

// FuzzKeySet: whatever stands at the URL of the keys of tokens, only public keys that are strong
// enough come of it.
func FuzzKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"","y":""}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := parseSet(text)
		if err != nil {
			return
		}
		for _, k := range set.keys {
			if !strong(k.public) {
				t.Errorf("%q gave %T", text, k.public)
			}
		}
	})
}
