package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/hark-push/hark/settings"
)

// Value is one setting as a gateway would run with it.
type Value struct {
	Name string `json:"name"` // of the flag, without dashes
	// Text is as it would be written, without what is secret.
	Text string `json:"value"`
	From string `json:"from"` // flag, variable, file or default
	// Where is the name of the variable or of the file; "" for others.
	Where string `json:"where,omitempty"`
}

// Effective reads the configuration as [Parse] does, and says where each value comes from, in the
// order of --help. wrong is what Parse would refuse of the values, err what cannot be read at all.
// Options are for further flags ([kong.Embed]), and for the name of the program. It writes no copy
// of the settings.
func Effective(args []string, out io.Writer, options ...kong.Option) (c Config, values []Value, wrong, err error) {
	if err := errors.Join(settings.Check[Config](os.Environ()), checkArguments(args)); err != nil {
		return c, nil, nil, err
	}
	s, err := openSource(args)
	if err != nil {
		return c, nil, nil, err
	}
	var why error // the copy stands in
	if s != nil {
		if why, err = s.open(context.Background()); err != nil {
			return c, nil, nil, err
		}
	}
	c, parsed, files, err := read(args, out, s, options...)
	if err != nil {
		return c, nil, nil, err
	}
	c.FromCopy = why
	own := make(map[string]bool)
	for _, f := range flagsOf(new(Config)) {
		own[f.Name] = true
	}
	given := make(map[string]bool)
	for _, p := range parsed.Path {
		if p.Flag != nil && !p.Resolved {
			given[p.Flag.Name] = true
		}
	}
	for _, f := range parsed.Flags() {
		if own[f.Name] && f.Name != "help" && f.Name != "new-key" {
			values = append(values, valueOf(f, given[f.Name], files))
		}
	}
	return c, values, c.check(), nil
}

func valueOf(f *kong.Flag, given bool, files *fileResolver) Value {
	v := Value{Name: f.Name, Text: masked(f.Name, textOf(f.Target)), From: "default"}
	switch {
	case given:
		v.From = "flag"
	case slices.ContainsFunc(f.Envs, isSet):
		v.From, v.Where = "variable", f.Envs[slices.IndexFunc(f.Envs, isSet)]
	case files != nil && files.from[f.Name] != "":
		v.From, v.Where = "file", files.from[f.Name]
	}
	return v
}

func isSet(name string) bool {
	_, ok := os.LookupEnv(name)
	return ok
}

// textOf writes a value as it would be written for a flag.
func textOf(v reflect.Value) string {
	if list, ok := reflect.TypeAssert[[]string](v); ok {
		return strings.Join(list, ",")
	}
	return fmt.Sprint(v.Interface())
}

// secrets are the settings that are secret as a whole.
var secrets = []string{"jwt-secret", "webhook-key"}

// scheme is how a URL begins, of which there may be several in a value.
var scheme = regexp.MustCompile(`[a-z][a-z0-9+.-]*://`)

// masked leaves out of a value what proves who somebody is: a secret, the password of a URL, and
// the query of one, in which there may be either.
func masked(name, text string) string {
	if text == "" {
		return ""
	}
	if slices.Contains(secrets, name) {
		return "(hidden)"
	}
	begins := scheme.FindAllStringIndex(text, -1)
	if len(begins) == 0 {
		return text
	}
	var b strings.Builder
	b.WriteString(text[:begins[0][0]])
	for i, at := range begins {
		end := len(text)
		if i+1 < len(begins) {
			end = begins[i+1][0]
		}
		b.WriteString(text[at[0]:at[1]])
		b.WriteString(maskedURL(text[at[1]:end]))
	}
	return b.String()
}

// maskedURL is masked for what stands behind the scheme of a URL.
func maskedURL(rest string) string {
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, _, proof := strings.Cut(rest[:at], ":")
		if proof {
			user += ":(hidden)"
		}
		rest = user + rest[at:]
	}
	path, query, ok := strings.Cut(rest, "?")
	lower := strings.ToLower(query)
	if ok && slices.ContainsFunc([]string{"pass", "secret", "token", "key", "sig", "auth"}, func(s string) bool { return strings.Contains(lower, s) }) {
		return path + "?(hidden)"
	}
	return rest
}

// Grammar returns the flags of the gateway, and StoreGrammar those of `hark store`, as pointers to
// structs with the tags of github.com/alecthomas/kong, for whoever completes them.
func Grammar() any { return new(Config) }

// StoreGrammar returns the flags and verbs of `hark store`, see [Grammar].
func StoreGrammar() any { return new(Store) }

func flagsOf(grammar any) []*kong.Flag {
	parser, err := kong.New(grammar)
	if err != nil {
		return nil
	}
	return parser.Model.Flags
}
