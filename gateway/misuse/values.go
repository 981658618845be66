package misuse

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// value is something that a schema does not allow.
type value struct {
	at   string          // a pointer to it, from where the schema is
	what string          // for people
	json json.RawMessage // where the schema is
}

// text returns a value that is a JSON string.
func text(s string) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil { // a string always marshals
		panic(err)
	}
	return b
}

// strange are strings of which most patterns take none. Those that a schema takes are left out.
var strange = []string{
	"", " ", "\t", "\n", "\x00", "a b", " a", "a ", "a\n", "a\x00", "a/b", `a\b`, "a?b", "a#b", "a%41", "a&b", "a=b", "a+b", "a,b", "a;b", "a'b", `a"b`, "<a>", "{a}", "[a]", "a|b", "a^b", "`a`",
	"é", "日本", "ａ", "١", "a\u200b", "\ufeffa", "a\u202eb", "💥", "\ufffd", "\u0085", "\x7f", "..", "../x", "./x", "*", "null", "true", "x", "-", "0x1", "1e3", "NaN",
	strings.Repeat("a", 70), strings.Repeat("a", 129), strings.Repeat("a", 201), strings.Repeat("a", 5000), strings.Repeat("é", 129), strings.Repeat("9", 400),
}

// strangeByName are more values of members and parameters of a name, which schemas take, and which
// the document speaks of in words, or which lie at the edge of a pattern.
var strangeByName = map[string][]string{
	"timeout":   append(durations, "0", "0s", "PT0S", "100000h", "P36500D"),
	"retention": append(durations, "0", "0s", "PT0S", "100000h", "P36500D"),
	"delay":     append(durations, "100000h", "P36500D"),
	"overlap":   append(durations, "721h", "P31D"),
	"schedule":  append(durations, "169h", "P8D"),
	"wait":      durations,
	"lease":     append(durations, "0s", "500ms", "3601s", "2h"),
	"life":      {"k3m9p2q4r", "k3m9p2q4rzz", "K3M9P2Q4RZ", "k3m9p2q4r_", "None", "none ", "k3m9p2q4rz-1"},
	"after":     {"-1", "+1", "1.5", "1-", "-", "1-x y", "18446744073709551616", "99999999999999999999999", "0x1", "1e3", " 1-", "१"},
	"since":     {"2026", "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-32T00:00:00Z", "2026-01-01T25:00:00Z", "2026-01-01T00:61:00Z", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "1767225600", "yesterday", "2026-01-01T00:00:00+25:00", "-2026-01-01T00:00:00Z"},
	"secret":    {"whsec_", "whsec_AAAA", "whsec_" + strings.Repeat("A", 31), "whsec_" + strings.Repeat("A", 88), "whsec_" + strings.Repeat("A", 32) + "=", "WHSEC_" + strings.Repeat("A", 32), "whsk_" + strings.Repeat("A", 32), strings.Repeat("A", 32), "whsec_" + strings.Repeat("!", 32), "whsec_" + strings.Repeat("_", 32)},
	"url":       urls,
	"webhook":   urls,
	"route":     {"nobody-serves-this", "Default", "default.", "DEFAULT"},
	"cursor":    {"x", "0", "-1", "1-", "99999999999999999999999", "{}"},
	"type":      {"x", "request", "request.", "Request.accepted", "request.accepted ", "request.unknown", "webhook.*", "*"},
	"topics":    {"**", "a*b", "*a", "a b*", "é*", strings.Repeat("a", 201) + "*"},
}

// durations are none, or such as no clock can count.
var durations = []string{
	"1", "-1s", "+1s", "1x", "1S", "1 s", " 1s", "1s ", "s", ".s", "1h1", "1,5s", "1e3s", "0x1s", "1d", "1w", "∞", "P", "PT", "P1", "PT1", "PTS", "P1Y", "P1M", "P1H", "PT1D", "PT1S1M", "P-1D", "PT-1S", "-PT1S", "p1d", "pt1s",
	"P1DT", "P1W1D", "PT1.5H", "99999999999999h", "9223372036854775808ns", "P99999999999999D", "PT99999999999999999999S", "١s",
}

// urls are none that webhooks may go to, without asking a name server.
var urls = []string{
	"", " ", "x", "/x", "//127.0.0.1/x", "http:", "http://", "http:///x", "https://", "https:///x", "https://:443/x", "https:127.0.0.1/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "javascript:alert(1)", "data:,x", "ws://127.0.0.1/x", "gopher://127.0.0.1/",
	"https://10.0.0.1/", "https://169.254.169.254/latest/meta-data", "https://[::1]/", "https://[fe80::1]/", "https://[fd00::1]/", "https://0.0.0.0/", "https://[::]/", "https://[::ffff:10.0.0.1]/", "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/", "https://127.1/",
	"https://user@127.0.0.1/", "https://user:password@127.0.0.1/", "https://127.0.0.1/#x", "https://127.0.0.1:0/", "https://127.0.0.1:65536/", "https://127.0.0.1:-1/", "https://127.0.0.1:x/", "https://127.0.0.1/%zz", "https://127.0.0.1/\x00", "https://127.0.0.1/\n", "https://[::1", "https://127.0.0.1 /", "https://127.0.0.1/" + strings.Repeat("x", 2048),
}

// valid are values of members that have to be there, by their names.
var valid = map[string]string{"content": "1", "requests": `[{"content":1}]`, "routes": `["default"]`, "message": `"m"`}

// texts returns the strings that a schema does not allow. A pattern that it has says which of the
// strange ones these are.
func texts(name string, s *openapi3.Schema) []string {
	var wrong []string
	pattern := regexp.MustCompile(s.Pattern)
	refused := func(t string) bool {
		switch {
		case len(s.Enum) > 0:
			return !slices.Contains(s.Enum, any(t))
		case s.Pattern != "":
			return !pattern.MatchString(t)
		}
		return false
	}
	for _, t := range strange {
		if refused(t) {
			wrong = append(wrong, t)
		}
	}
	for _, e := range s.Enum {
		if e, ok := e.(string); ok {
			for _, t := range []string{strings.ToUpper(e), e + " ", " " + e, e[1:], e + "s", strings.ToUpper(e[:1]) + e[1:]} {
				if refused(t) {
					wrong = append(wrong, t)
				}
			}
		}
	}
	if s.MinLength > 0 {
		wrong = append(wrong, "")
	}
	if s.MaxLength != nil {
		n := int(*s.MaxLength)
		wrong = append(wrong, strings.Repeat("a", n+1), strings.Repeat("é", n+1), strings.Repeat("💥", n+1), strings.Repeat(" ", n+1))
	}
	if s.Format == "date-time" {
		wrong = append(wrong, strange...)
	}
	wrong = append(wrong, strangeByName[name]...)
	slices.Sort(wrong)
	return slices.Compact(wrong)
}

// numbers returns the numbers, as JSON has them, that a schema does not allow.
func numbers(s *openapi3.Schema, integer bool) []string {
	wrong := []string{}
	if s.Min != nil {
		wrong = append(wrong, number(*s.Min-1), number(*s.Min-1000), "-9223372036854775809", "-1e300")
	}
	if s.Max != nil {
		wrong = append(wrong, number(*s.Max+1), number(*s.Max*1000+1), "1e300", "18446744073709551616")
	}
	if integer {
		wrong = append(wrong, "1.5", "9223372036854775808", "1e99", "0.1", "1e-1")
	}
	return append(wrong, "1e400", "-1e400")
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// permits reports whether a schema, or one of those that it is any of, takes a type of JSON.
func permits(s *openapi3.Schema, kind string) bool {
	if len(s.AnyOf) > 0 {
		return slices.ContainsFunc(s.AnyOf, func(r *openapi3.SchemaRef) bool { return permits(r.Value, kind) })
	}
	return s.Type.Permits(kind) || kind == "integer" && s.Type.Permits("number")
}

// values returns what a schema does not allow. name is that of the member or of the list that
// holds it.
func values(name string, s *openapi3.Schema, required bool) (wrong []value) {
	add := func(what string, v json.RawMessage) { wrong = append(wrong, value{"", what, v}) }
	for _, other := range []struct{ kind, json string }{
		{"boolean", "true"}, {"boolean", "false"}, {"integer", "1"}, {"integer", "0"}, {"number", "1.5"}, {"string", `"x"`}, {"string", `"1"`}, {"string", `"true"`}, {"array", "[]"}, {"array", "[1]"}, {"array", "[[]]"}, {"object", "{}"}, {"object", `{"x":1}`},
	} {
		if !permits(s, other.kind) {
			add("another type", json.RawMessage(other.json))
		}
	}
	if required && !permits(s, "null") {
		add("null", json.RawMessage("null"))
	}
	for _, one := range append(slices.Clone(s.AnyOf), s.NewRef()) {
		s := one.Value
		if s.Type == nil {
			continue
		}
		for _, kind := range s.Type.Slice() {
			switch kind {
			case "string":
				for _, t := range texts(name, s) {
					add("a string that is not allowed", text(t))
				}
			case "integer", "number":
				for _, n := range numbers(s, kind == "integer") {
					add("a number that is not allowed", json.RawMessage(n))
				}
			case "array":
				wrong = append(wrong, lists(name, s)...)
			case "object":
				wrong = append(wrong, objects(name, s)...)
			}
		}
	}
	return wrong
}

// lists returns arrays that are too short, too long, or hold something that is not allowed.
func lists(name string, s *openapi3.Schema) (wrong []value) {
	item := s.Items.Value
	good := example(name, item)
	if s.MinItems > 0 {
		wrong = append(wrong, value{"", "too few", json.RawMessage("[]")})
	}
	if s.MaxItems != nil {
		n := int(*s.MaxItems) + 1
		wrong = append(wrong, value{"", "too many", json.RawMessage("[" + strings.TrimSuffix(strings.Repeat(string(good)+",", n), ",") + "]")})
	}
	for _, v := range values(name, item, true) {
		wrong = append(wrong, value{"/0" + v.at, "in a list: " + v.what, json.RawMessage("[" + string(v.json) + "]")})
	}
	// The first is right, so that who looks at that alone is found out.
	wrong = append(wrong, value{"/1", "the second in a list", json.RawMessage("[" + string(good) + ",{\"x\":[]}]")})
	return wrong
}

// objects returns objects with a member that is wrong, missing, unknown or there twice.
func objects(name string, s *openapi3.Schema) (wrong []value) {
	good := make(map[string]json.RawMessage)
	for _, required := range s.Required {
		good[required] = example(required, s.Properties[required].Value)
	}
	with := func(member string, v json.RawMessage) json.RawMessage {
		all := maps.Clone(good)
		all[member] = v
		return object(all)
	}
	for _, member := range slices.Sorted(maps.Keys(s.Properties)) {
		for _, v := range values(member, s.Properties[member].Value, slices.Contains(s.Required, member)) {
			wrong = append(wrong, value{"/" + member + v.at, "inside: " + v.what, with(member, v.json)})
		}
	}
	for _, required := range s.Required {
		without := maps.Clone(good)
		delete(without, required)
		wrong = append(wrong, value{"/" + required, "inside: missing", object(without)})
		twice := fmt.Appendf(nil, "{%q:%s,%s", required, good[required], object(good)[1:])
		wrong = append(wrong, value{"/" + required, "inside: twice", twice})
	}
	if s.AdditionalProperties.Has != nil && !*s.AdditionalProperties.Has {
		for _, unknown := range unknownMembers(slices.Collect(maps.Keys(s.Properties))) {
			wrong = append(wrong, value{"/" + escape(unknown), "inside: unknown", with(unknown, json.RawMessage("1"))})
		}
	}
	if name == "headers" {
		for _, h := range []string{
			`{"":"x"}`, `{"a b":"x"}`, `{"a:":"x"}`, `{"é":"x"}`, `{"X":"a\nb"}`, `{"X":"a\r\nb: c"}`, `{"X":"\u0000"}`, `{"Host":"x"}`, `{"content-length":"1"}`, `{"Transfer-Encoding":"chunked"}`, `{"Connection":"close"}`,
			`{"webhook-id":"x"}`, `{"Content-Type":"x"}`, `{"X-A":"1","x-a":"2"}`, `{"X":1}`, `{"X":null}`, `{"X":["a"]}`, `{"X":{}}`, `{"X":true}`, `{"X":"1","X":"2"}`, `{"X":"` + strings.Repeat("a", 2000) + `"}`, `{"` + strings.Repeat("a", 2000) + `":"x"}`,
		} {
			wrong = append(wrong, value{"", "a header that is not allowed", json.RawMessage(h)})
		}
	}
	if s.MaxProps != nil {
		many := make(map[string]json.RawMessage)
		for i := range int(*s.MaxProps) + 1 {
			many[fmt.Sprint("X-", i)] = text("x")
		}
		wrong = append(wrong, value{"", "too many members", object(many)})
	}
	return wrong
}

// example returns a value of a member that is right.
func example(name string, s *openapi3.Schema) json.RawMessage {
	if text, ok := valid[name]; ok && (name != "routes" || !permits(s, "string")) {
		return json.RawMessage(text)
	}
	switch {
	case name == "url":
		return text(exampleURL)
	case name == "requests":
		return json.RawMessage(`{"content":1}`)
	case name == "routes":
		return text("default")
	case len(s.Enum) > 0:
		return text(fmt.Sprint(s.Enum[0]))
	case permits(s, "object"):
		return json.RawMessage("{}")
	case permits(s, "integer"):
		return json.RawMessage("1")
	case strings.Contains(s.Pattern, "PT"), strings.HasPrefix(s.Pattern, "^(0|"):
		return text("1s")
	}
	return text("a")
}

const exampleURL = "https://127.0.0.1:9/"

// unknownMembers returns names that are like those that there are, and are none of them.
func unknownMembers(known []string) (unknown []string) {
	candidates := []string{"", " ", "x", "_", "$schema", "__proto__", "constructor", "a/b", "a~b", "é", "\u0000", "💥"}
	for _, name := range known {
		candidates = append(candidates, strings.ToUpper(name), strings.ToUpper(name[:1])+name[1:], name+" ", name+"s", name[1:], name+"\u0000", strings.ToLower(name)+"_")
	}
	for _, name := range candidates {
		if !slices.Contains(known, name) && !slices.Contains(unknown, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}

func escape(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }
