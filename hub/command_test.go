package hub

import (
	"encoding/json"
	"errors"
	"testing"
)

// TestCommand: a message is read as it is documented, and no other way.
func TestCommand(t *testing.T) {
	for text, want := range map[string]error{
		`{"op":"subscribe","channel":"request:x","after":3}`:   nil,
		`{"op":"subscribe","channel":"request:x","after":"3"}`: nil,
		` { "channel" : "x" , "op" : "subscribe" } `:           nil,
		`{"op":"subscribe","channel":"x","after":null}`:        nil,
		`{"op":"subscribe","channel":"x","form":"thin"}`:       nil,
		`{"op":"subscribe","form":"full","channel":"x"}`:       nil,
		`{"op":"unsubscribe","channel":"x"}`:                   nil,
		`{"op":"ping"}`:                                        nil,
		`{"op":"auth","token":"t"}`:                            nil,
		`{"op":"nonsense","channel":"x","other":1}`:            ErrUnknownOp,
		`{"channel":"x"}`:                                      ErrUnknownOp,
		`{}`:                                                   ErrUnknownOp,
		`{"op":"PING"}`:                                        ErrUnknownOp,
		`{"OP":"ping"}`:                                        ErrUnknownOp,
		`{"op":"ping","op":"ping"}`:                            ErrMessage,
		`{"op":"subscribe","channel":"a","ch\u0061nnel":"b"}`:  ErrMessage,
		`{"op":"subscribe","channel":"a","ater":3}`:            ErrMessage,
		`{"op":"subscribe","Channel":"a"}`:                     ErrMessage,
		`{"op":"unsubscribe","channel":"a","after":3}`:         ErrMessage,
		`{"op":"ping","channel":"a"}`:                          ErrMessage,
		`{"op":"auth","token":1}`:                              ErrMessage,
		`{"op":"subscribe","channel":"a","after":-1}`:          ErrMessage,
		`{"op":"subscribe","channel":"a","form":"thick"}`:      ErrMessage,
		`{"op":"subscribe","channel":"a","form":""}`:           ErrMessage,
		`{"op":"subscribe","channel":"a","form":null}`:         ErrMessage,
		`{"op":"subscribe","channel":"a","form":1}`:            ErrMessage,
		`{"op":"ping","form":"thin"}`:                          ErrMessage,
		`{"op":"ping"}{"op":"ping"}`:                           ErrMessage,
		`{"op":"ping"} x`:                                      ErrMessage,
		`{"op":"ping",}`:                                       ErrMessage,
		`{"op":"ping"`:                                         ErrMessage,
		`["op","ping"]`:                                        ErrMessage,
		`null`:                                                 ErrMessage,
		``:                                                     ErrMessage,
	} {
		if _, err := parseCommand([]byte(text)); !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}

// FuzzCommand: what is taken is what encoding/json reads.
func FuzzCommand(f *testing.F) {
	f.Add([]byte(`{"op":"subscribe","channel":"request:x","after":3}`))
	f.Add([]byte(`{"op":"auth","token":"t"}`))
	f.Add([]byte(`{"op":"ping"}`))
	f.Add([]byte(`{"op":"subscribe","channel":"owner","form":"thin"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseCommand(text)
		if err != nil {
			return
		}
		var read struct{ Op, Channel, Token, Form string }
		if err := json.Unmarshal(text, &read); err != nil || read.Op != c.Op || read.Channel != c.Channel || read.Token != c.Token || read.Form != c.Form {
			t.Errorf("%s: %+v, encoding/json: %+v, %v", text, c, read, err)
		}
	})
}
