package misuse

import (
	"fmt"
	"strconv"
	"strings"
)

// commands are messages that are not of the protocol hark.v1, as asyncapi.yaml describes it.
func (t *talks) commands(request string) {
	const wrongMessage, wrongOp, noChannel = "error:malformed-message", "error:unknown-op", "error:channel-not-found"
	say := func(message, receives string) {
		t.receives("a command", fmt.Sprintf("%.80q", message), []string{receives}, frame(final|opText, message))
	}
	for _, message := range []string{
		"", " ", "x", "null", "true", "1", `"x"`, "[]", `[{"op":"ping"}]`, "{", "}", `{"op"}`, `{"op":}`, `{"op":"ping"`, `{"op":"ping"}}`, `{"op":"ping"},`, `{"op":"ping",}`, `{op:"ping"}`, `{'op':'ping'}`, `{"op":"ping"}{"op":"ping"}`, `{"op":"pi` + "\n" + `ng"}`, `{"op":"\x"}`, `{"op":"\u12"}`,
		"\ufeff" + ping, ping + "\x00", "\x00" + ping, "//\n" + ping, strings.Repeat("[", 15_000), strings.Repeat(`{"op":`, 5_000), `{"op":NaN}`, `{"op":01}`, "op=ping", "<op/>",
	} {
		say(message, wrongMessage)
	}
	for _, v := range []string{"1", "true", "[]", "{}", `["ping"]`, "1.5", `{"op":"ping"}`} {
		say(`{"op":`+v+`}`, wrongMessage)
		say(`{"op":"subscribe","channel":`+v+`}`, wrongMessage)
		say(`{"op":"unsubscribe","channel":`+v+`}`, wrongMessage)
		say(`{"op":"auth","token":`+v+`}`, wrongMessage)
	}
	for _, op := range []string{"", " ", "x", "Ping", "PING", "ping ", " ping", "pong", "subscribed", "event", "error", "end", "publish", "auth\u0000", "ping\n", "é", strings.Repeat("x", 5000), "sub", "subscribe,ping"} {
		say(`{"op":`+string(text(op))+`}`, wrongOp+"|"+wrongMessage)
	}
	say("{}", wrongOp+"|"+wrongMessage)
	say(`{"op":null}`, wrongOp+"|"+wrongMessage)
	say(`{"channel":"owner"}`, wrongOp+"|"+wrongMessage)
	for _, channel := range append([]string{
		"request", "request:", "request:a b", "request:é", "request:a/b", "request:" + strings.Repeat("a", 129), "Request:" + request, "request: " + request, "request:" + request + " ", "topic", "topic:", "topic:a b", "topic:é", "topic:" + strings.Repeat("a", 201), "topic:a/b", "Owner", "owner:", "owners", "feed", "batch:" + request, "all", "#", ":", "::",
		"owner:" + strings.Repeat("o", 257), "owner:\u0000",
	}, strange...) {
		if channel != "" {
			say(`{"op":"subscribe","channel":`+string(text(channel))+`}`, noChannel)
		}
		if channel != "owner" && len(channel) < 1000 {
			say(`{"op":"unsubscribe","channel":`+string(text(channel))+`}`, "error:not-subscribed|"+noChannel)
		}
	}
	for _, op := range []string{"subscribe", "unsubscribe"} {
		for _, channel := range []string{"", `,"channel":""`, `,"channel":null`} {
			say(`{"op":"`+op+`"`+channel+`}`, noChannel+"|"+wrongMessage+"|error:not-subscribed")
		}
	}
	say(`{"op":"subscribe","channel":"request:unknown"}`, "error:request-not-found")
	for _, after := range []string{`""`, `"x"`, `"-1"`, `"1-"`, `"1.5"`, `" 1"`, `"1 "`, `"+1"`, `"18446744073709551616"`, `"1-K3M9P2Q4RZ"`, `"1-a b"`, "-1", "1.5", "18446744073709551616", "1e400", "true", "[]", "{}", "[1]"} {
		say(`{"op":"subscribe","channel":"request:`+request+`","after":`+after+`}`, wrongMessage)
	}
	for _, form := range []string{`""`, `"x"`, `"THIN"`, `"full,thin"`, `" thin"`, "null", "1", "true", "[]", `["thin"]`, "{}"} {
		say(`{"op":"subscribe","channel":"request:`+request+`","form":`+form+`}`, wrongMessage)
		say(`{"op":"ping","form":`+form+`}`, wrongMessage)
	}
	say(`{"op":"subscribe","channel":"owner","form":"thin","form":"thin"}`, wrongMessage)
	for _, token := range []string{`""`, `"x"`, `"a.b.c"`, `"` + strings.Repeat("x", 9000) + `"`} {
		say(`{"op":"auth","token":`+token+`}`, "error:tokens-not-used")
	}
	say(`{"op":"auth"}`, "error:tokens-not-used|"+wrongMessage)
	for _, more := range []string{`"x":1`, `"OP":"subscribe"`, `"Op":"ping"`, `"channels":[]`, `"CHANNEL":"owner"`, `"":1`, `"op ":1`, `"__proto__":{}`} {
		say(`{"op":"ping",`+more+`}`, wrongMessage)
		say(`{"op":"subscribe","channel":"owner",`+more+`}`, wrongMessage)
	}
	for _, twice := range []string{`"op":"ping","op":"ping"`, `"op":"subscribe","channel":"owner","channel":"owner"`, `"op":"subscribe","channel":"owner","after":1,"after":1`, `"op":"x","op":"ping"`, `"\u006fp":"x","op":"ping"`, `"op":"auth","token":"a","token":"b"`} {
		say(`{`+twice+`}`, wrongMessage)
	}
	// All of this leaves the connection as it was.
	t.receives("a command", "many that are wrong, and one that is not", append(repeat("error:malformed-message", 50), "op:pong"), bytesOf(frame(final|opText, "x"), 50), frame(final|opText, ping))
	for i, n := range []int{1, 2, 10} {
		t.receives("a command", "pings "+strconv.Itoa(i), repeat("op:pong", n), bytesOf(frame(final|opText, ping), n))
	}
}

func repeat(s string, n int) (all []string) {
	for range n {
		all = append(all, s)
	}
	return all
}

func bytesOf(b []byte, n int) (all []byte) {
	for range n {
		all = append(all, b...)
	}
	return all
}
