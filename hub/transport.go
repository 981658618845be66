package hub

import (
	"net/http"
	"time"
)

// transport is how everything leaves a connection: one way to write messages, signs of life and
// farewells. It is a value without state that all connections of its kind share. What it returns
// may be shared, too: nobody changes that.
type transport interface {
	// messages returns those of a batch, one behind the other, so that each can be left out.
	messages(b *batch) []byte
	// first returns how many bytes the first message has of those that messages has written.
	first(b []byte) int
	// heartbeat returns a sign of life. With something about heartbeats, the members that end a
	// JSON object, the client is to see it.
	heartbeat(about string) []byte
	// farewell returns what is said to a client that is sent away, nothing if there are no words
	// for it. Who is to come back is to wait for that long.
	farewell(f *farewell, retry time.Duration) []byte
	// converses reports whether the client answers: heartbeats, and the end.
	converses() bool
	// stays returns how long a connection has to be there before its client is sent away.
	stays() time.Duration
}

// StreamTransport is the transport of the answer to a call, whose client has nothing more to say;
// [SSE] returns one.
type StreamTransport interface {
	transport
	form() form
	mediaType() string
	chunks() bool // whether the body of the answer comes in chunks
	// opening returns the beginning of the body. at is where the client is, nil if that could not
	// be read.
	opening(at *Cursor, retry time.Duration, about string) []byte
	// refusal returns the whole answer to a client that is sent away at once. header has the fields
	// that any answer has to it.
	refusal(header http.Header, f *farewell, retry time.Duration) []byte
	// end returns the end of the body: the channel ends there.
	end(at Cursor) []byte
}

// form is the place of a transport in transports: a connection has one byte for it. Of those of
// events there are two each, which say them in full and in thin form and are the same otherwise.
type form uint8

const (
	formSSE form = iota
	formPlain
	formSocket
	formThinSSE // from here on in thin form
	formThinPlain
	formThinSocket
	formDurable // from here on of streams; see durable
	formDurablePlain
	formDurableBase64
	formDurableBase64Plain
	formNative // see native
	formNativePlain
	formNativeBase64
	formNativeBase64Plain
	forms // how many there are

	fullForms  = formThinSSE
	eventForms = formDurable
)

var transports = [forms]transport{
	formSSE: sse{body: body{chunked: true}}, formPlain: sse{}, formSocket: webSocket{},
	formThinSSE: sse{body: body{chunked: true}, thin: true}, formThinPlain: sse{thin: true}, formThinSocket: webSocket{thin: true},
	formDurable: durable{pieces{body{chunked: true}, false}}, formDurablePlain: durable{},
	formDurableBase64: durable{pieces{body{chunked: true}, true}}, formDurableBase64Plain: durable{pieces{base64: true}},
	formNative: native{pieces{body{chunked: true}, false}}, formNativePlain: native{},
	formNativeBase64: native{pieces{body{chunked: true}, true}}, formNativeBase64Plain: native{pieces{base64: true}},
}

// thin reports whether events are said in thin form.
func (f form) thin() bool { return f >= fullForms && f < eventForms }

// ofStream reports whether it is for the pieces of a stream, and not for events.
func (f form) ofStream() bool { return f >= eventForms }

// formSet is a set of forms.
type formSet uint16

func (s *formSet) add(f form)     { *s |= 1 << f }
func (s formSet) has(f form) bool { return s&(1<<f) != 0 }

// The forms of events, by their names.
const (
	FormFull = "full" // CloudEvents with all that there is to say
	FormThin = "thin" // what has changed, see [Thinner]
)
