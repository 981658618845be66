package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"strconv"

	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
)

// fingerprint identifies what was asked for, so that a repetition can be told from
// a conflict. White space in JSON does not matter.
func fingerprint(s *lifecycle.Submission, w *oneOff) string {
	hash := sha256.New()
	length := func(n int) { // of each part, so that they cannot run into each other
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(n))
		hash.Write(b[:])
	}
	part := func(b []byte) {
		length(len(b))
		hash.Write(b)
	}
	part([]byte(s.Content.Type))
	if data := s.Content.Data; lifecycle.IsJSON(s.Content.Type) && json.Valid(data) {
		length(compact(io.Discard, data))
		compact(hash, data)
	} else {
		part(data)
	}
	part([]byte(s.ID))
	part([]byte(s.Route))
	part([]byte(s.Topic))
	for _, n := range []int64{int64(s.Priority), int64(s.MaxAttempts), int64(s.Delay), int64(s.Timeout), int64(s.Retention)} {
		part(strconv.AppendInt(nil, n, 10))
	}
	if s.RetryDelay > 0 { // named, so that what was submitted before there was one stays the same
		part([]byte("retryDelay"))
		part(strconv.AppendInt(nil, int64(s.RetryDelay), 10))
	}
	if s.Concurrency.Key != "" { // likewise
		part([]byte("concurrency"))
		part([]byte(s.Concurrency.Key))
		part(strconv.AppendInt(nil, int64(s.Concurrency.Limit), 10))
	}
	if w != nil {
		part([]byte(*w.URL))
		part([]byte(w.Secret))
		for _, t := range w.Events {
			part([]byte(t))
		}
		if w.Form == hub.FormThin { // named, as above; full is what it is anyway
			part([]byte("form"))
			part([]byte(w.Form))
		}
	}
	if s.Call != nil {
		part([]byte(s.Call.Method))
		part([]byte(s.Call.Path))
		part([]byte(s.Call.Query))
		if s.Call.RawPath != s.Call.Path {
			part([]byte(s.Call.RawPath))
		}
	}
	return base64.RawURLEncoding.EncodeToString(hash.Sum(nil))
}

// compact writes valid JSON without the white space in which it may differ from the same JSON, as
// json.Compact does, and returns how many bytes that were. It takes no memory.
func compact(w io.Writer, text []byte) (n int) {
	quoted, from := false, 0
	write := func(to int) {
		_, _ = w.Write(text[from:to]) // a hash, or nothing
		n += to - from
	}
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case !quoted && (b == ' ' || b == '\n' || b == '\r' || b == '\t'):
			write(i)
			from = i + 1
		}
	}
	write(len(text))
	return n
}
