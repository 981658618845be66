package config_test

import (
	"strings"
	"testing"
)

// TestForwardHeaders: names of fields are taken, and none that may prove who somebody is, that is
// about the connection or the body, or that is no name.
func TestForwardHeaders(t *testing.T) {
	c, err := parse(t, "--listen=127.0.0.1:0", "--forward-headers=X-Tenant,x-customer-id,Referer,X-Author")
	if err != nil || strings.Join(c.ForwardHeaders, " ") != "X-Tenant x-customer-id Referer X-Author" {
		t.Errorf("%v, %v", c.ForwardHeaders, err)
	}
	for names, want := range map[string]string{
		"Authorization": "prove who the caller is", "authorization": "prove", "X-Tenant,Cookie": `"Cookie"`, "Set-Cookie2": "prove", "Proxy-Authorization": "prove",
		"Proxy-Anything": "prove", "X-Api-Key": "prove", "x-apikey": "prove", "Api-Key": "prove", "X-Auth-Request-User": "prove", "X-Auth": "prove", "X-Amz-Authorization": "prove", "X-Amz-Security-Token": "prove",
		"X-Csrf-Token": "prove", "X-Goog-Iap-Jwt-Assertion": "prove", "X-Session-Id": "prove", "X-Client-Secret": "prove", "X-Password": "prove", "Signature": "prove",
		"Sec-Websocket-Protocol": "prove", "X-Forwarded-Client-Cert": "prove", "X-Access-Key": "prove",
		"Connection": "about the connection", "Host": "about the connection", "Transfer-Encoding": "about", "Content-Type": "media type", "Hark-Attempt": "about", "If-Match": "about",
		"X Tenant": "names of header fields", "X-Tenant:": "names", "X-Ténant": "names", strings.Repeat("x", 65): "64 characters", "X-Tenant,,X-B": "names",
		strings.Repeat("X-A,", 16) + "X-B": "at most 16",
	} {
		if _, err := parse(t, "--listen=127.0.0.1:0", "--forward-headers="+names); err == nil || !strings.Contains(err.Error(), "forward-headers") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", names, err)
		}
	}
}
