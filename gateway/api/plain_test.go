package api

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/hark-push/hark/gateway/api/jsonobject"
)

// TestPlainObject: what is plain is taken, what is not is left to encoding/json.
func TestPlainObject(t *testing.T) {
	for body, plain := range map[string]bool{
		`{}`:                          true,
		" { } \n":                     true,
		`{"percent":0}`:               true,
		`{"percent":-1.50,"step":""}`: true,
		`{ "step" : "größer" , "message" : "a/b" , "percent" : 12.5 , "attempt" : 3 , "timeout" : "PT1H" }`: true,
		`{"step":"a","step":"b"}`:   false, // as it is refused
		`{"percent":1,"percent":1}`: false,
		`{"attempt":1,"attempt":1}`: false,
		`{"step":"a\"b"}`:           false,
		`{"step":"a` + "\n" + `"}`:  false,
		`{"step":null}`:             false,
		`{"percent":1e1}`:           false,
		`{"percent":"1"}`:           false,
		`{"percent":01}`:            false,
		`{"percent":1.}`:            false,
		`{"percent":.5}`:            false,
		`{"percent":+5}`:            false,
		`{"percent":-}`:             false,
		`{"percent":5}x`:            false,
		`{"percent":5,}`:            false,
		`{,"percent":5}`:            false,
		`{"percent" 5}`:             false,
		`{"percent":5 "step":""}`:   false,
		`{"percent":5`:              false,
		`{"attempt":1.0}`:           false,
		`{"timeout":5}`:             false,
		`{"Step":"a"}`:              false,
		`{"other":"a"}`:             false,
		`{"st\u0065p":"a"}`:         false,
		`["step"]`:                  false,
		``:                          false,
		`{`:                         false,
	} {
		var p progressReport
		if got := jsonobject.Plain([]byte(body), p.set); got != plain {
			t.Errorf("%s: %v", body, got)
		}
	}
}

// FuzzPlainObject: what is taken for plain is what encoding/json reads.
func FuzzPlainObject(f *testing.F) {
	f.Add([]byte(`{"step":"a","percent":12.5,"message":"m","attempt":3,"timeout":"1h"}`))
	f.Add([]byte(` {"percent" : -0 , "step":""} `))
	f.Fuzz(func(t *testing.T, body []byte) {
		var plain, read progressReport
		if !utf8.Valid(body) || !jsonobject.Plain(body, plain.set) {
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&read); err != nil || decoder.More() || !reflect.DeepEqual(plain, read) {
			t.Errorf("%s: %+v; encoding/json: %+v, %v", body, plain, read, err)
		}
	})
}

func BenchmarkReport(b *testing.B) {
	body := []byte(`{"step":"resizing the image","percent":42,"message":"1 of 3 pictures"}`)
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var p progressReport
			if !jsonobject.Plain(body, p.set) {
				b.Fatal("not plain")
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var p progressReport
			if _, _, err := jsonobject.Read(body, ""); err != nil {
				b.Fatal(err)
			}
			decoder := json.NewDecoder(bytes.NewReader(body))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&p); err != nil {
				b.Fatal(err)
			}
		}
	})
}
