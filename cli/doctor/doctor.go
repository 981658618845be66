// Package doctor looks for what is wrong around a gateway: its configuration, its servers, its
// machine, and the proxies in front of it. It changes nothing.
package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/cli"
	"github.com/hark-push/hark/gateway/config"
	"github.com/hark-push/hark/settings"
)

// Finding is one thing that is wrong.
type Finding struct {
	// About is configuration, redis, rabbitmq, machine, gateway or proxy.
	About  string `json:"about"`
	Wrong  string `json:"wrong"`
	Cause  string `json:"cause"`
	Remedy string `json:"remedy"`
}

// flags are those of the doctor beside the gateway's.
type flags struct {
	Through string        `name:"through" placeholder:"URL" help:"Look at the proxies in front, too: how clients reach the gateways."`
	Wait    time.Duration `name:"wait" default:"15s" help:"How long to watch a stream through them, and to wait for an answer."`
	Submit  bool          `name:"submit" help:"With --through, also submit a request, which is canceled and deleted at once, to see which address clients are told to come back to."`
	At      string        `name:"url" env:"HARK_URL" placeholder:"URL" help:"A gateway that runs. Default: where --listen says, if one runs there."`
	Key     string        `name:"key" placeholder:"FILE" help:"File with an API key or a token. The variable HARK_KEY has the key itself."`
	JSON    bool          `name:"json" help:"Print each finding as JSON, one a line."`
}

// Grammar returns the flags, as a pointer to a struct with the tags of
// github.com/alecthomas/kong.
func Grammar() any {
	return &struct {
		flags         `embed:""`
		config.Config `embed:""`
	}{}
}

const about = "Looks for what is wrong with the configuration, Redis, RabbitMQ, this machine, a gateway that runs, and the proxies in front of it " +
	"(--through), and says what to do. It takes the flags, variables and files of the gateway, and changes nothing. " +
	"Says nothing, and ends with 0, if nothing is wrong; with 1 if something is; with 2 for wrong arguments."

// Run runs the doctor and returns the exit code.
func Run(ctx context.Context, args []string, s cli.Streams) int {
	var f flags
	c, _, wrong, err := config.Effective(args, s.Out, kong.Embed(&f), kong.Name("hark doctor"), kong.Description(about))
	if errors.Is(err, config.ErrHelp) {
		return cli.ExitDone
	}
	if err == nil {
		err = settings.Between("wait", f.Wait, time.Second, 10*time.Minute)
	}
	if err != nil {
		_, _ = fmt.Fprintln(s.Err, "hark:", err)
		return cli.ExitUsage
	}
	backends.LogRedis(quiet)
	d := &doctor{flags: f, config: c}
	d.configuration(wrong)
	d.redis(ctx)
	d.rabbitmq(ctx)
	d.machine()
	if err := d.gateway(ctx); err != nil {
		_, _ = fmt.Fprintln(s.Err, "hark:", err)
		return cli.CodeOf(err)
	}
	if ctx.Err() != nil {
		return cli.ExitInterrupted
	}
	if err := d.tell(s); err != nil {
		_, _ = fmt.Fprintln(s.Err, "hark:", err)
		return cli.ExitFailed
	}
	if len(d.found) > 0 {
		return cli.ExitFailed
	}
	return cli.ExitDone
}

type doctor struct {
	flags  flags
	config config.Config

	found []Finding
	notes []string // what was not looked at, and why
}

func (d *doctor) find(about, wrong, cause, remedy string) {
	d.found = append(d.found, Finding{about, wrong, cause, remedy})
}

func (d *doctor) note(format string, args ...any) {
	d.notes = append(d.notes, fmt.Sprintf(format, args...))
}

// tell prints what was found. Whoever looks at a terminal is told what was not looked at, too.
func (d *doctor) tell(s cli.Streams) error {
	for _, f := range d.found {
		if d.flags.JSON {
			e := json.NewEncoder(s.Out)
			e.SetEscapeHTML(false)
			if err := e.Encode(f); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintf(s.Out, "%s: %s\n  cause:  %s\n  remedy: %s\n", f.About, indented(f.Wrong), indented(f.Cause), indented(f.Remedy)); err != nil {
			return err
		}
	}
	if s.Terminal {
		for _, note := range d.notes {
			_, _ = fmt.Fprintln(s.Err, "not looked at:", note)
		}
		if len(d.found) == 0 {
			_, _ = fmt.Fprintln(s.Err, "nothing wrong was found")
		}
	}
	return nil
}

func indented(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n          ")
}

// configuration tells what the gateway would refuse, and what it takes although it should not be.
func (d *doctor) configuration(wrong error) {
	const about = "configuration"
	c := &d.config
	host, _, err := net.SplitHostPort(c.Listen)
	exposed := err == nil && !c.Keyed() && !config.Loopback(host)
	const keys = "make a key (hark keys new NAME --keys keys.yaml) and start the gateway with --keys keys.yaml, or take tokens (--jwt-keys, --jwks-url)"
	switch e, ok := errors.AsType[*settings.Error](wrong); {
	case exposed && !c.Insecure:
		d.find(about, fmt.Sprintf("the gateway does not start: it would listen on %s, which others reach, without keys", c.Listen),
			"without keys or tokens everybody may do everything, so only a loopback address is taken", keys+", or listen on 127.0.0.1")
	case ok:
		d.find(about, fmt.Sprintf("the gateway does not start: %v", e), "the value of "+e.Key+" is not one that it may have", "give it "+e.Allowed)
	case wrong != nil:
		d.find(about, fmt.Sprintf("the gateway does not start: %v", wrong), "its configuration is not whole", "do what the message says; hark config shows where each value comes from")
	}
	if exposed && c.Insecure {
		d.find(about, fmt.Sprintf("whoever reaches %s may do everything: submit, read and delete everybody's requests", c.Listen),
			"--insecure (HARK_INSECURE) is given, and there are neither keys nor tokens", keys)
	}
	if c.FromCopy != nil {
		d.find(about, "the settings are those of the copy "+c.ConfigCopy, c.FromCopy.Error(), "have the URL of --config answer")
	}
	for _, v := range config.Strays(os.Environ()) {
		remedy := "unset it (unset " + v.Name + ")"
		if v.Meant != "" {
			remedy = "rename it to " + v.Meant + " if that is meant, or unset it"
		}
		d.find(about, "the variable "+v.Name+" has no effect", "the gateway has none of that name", remedy)
	}
	d.files()
}

// unreachable finds a server that does not answer.
func (d *doctor) unreachable(about, flag, where string, err error) {
	d.find(about, where+" cannot be reached", err.Error(), "start it, open the way to it (firewall, network, name), or correct "+flag)
}
