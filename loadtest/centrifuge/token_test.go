package main

import "testing"

func TestVerify(t *testing.T) {
	// Of {"alg":"HS256"} and {"sub":"u","channels":["c"]}, signed with "secret".
	const token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1IiwiY2hhbm5lbHMiOlsiYyJdfQ.gBmwbO5UNoBEApyeBAs5avXTEOnu8aLi5_esD1tQqMI"
	user, channels, err := verify(token, "secret")
	if err != nil || user != "u" || len(channels) != 1 || channels[0] != "c" {
		t.Error(user, channels, err)
	}
	for _, wrong := range []string{"", "x", "a.b.c", token + "x", token[:len(token)-1]} {
		if _, _, err := verify(wrong, "secret"); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
	if _, _, err := verify(token, "other"); err == nil {
		t.Error("another key is taken")
	}
}
