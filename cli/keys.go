package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/settings"
)

type keysVerb struct {
	Output `embed:""`

	New struct {
		Subject string   `arg:"" help:"Name of the caller."`
		Roles   []string `name:"role" default:"client" placeholder:"ROLE,…" help:"What it may do: client, processor, admin."`
		Keys    string   `placeholder:"FILE" help:"Add its entry to this file of keys, which a gateway reads again by itself. Default: print it."`
	} `cmd:"" help:"Make an API key, and print it, this once."`
	List struct {
		Keys string `env:"HARK_KEYS" required:"" placeholder:"FILE" help:"File of keys, as the gateway has it."`
	} `cmd:"" help:"List the keys of a file. None of them is shown."`
	Revoke struct {
		ID   string `arg:"" help:"Id of the key, as list prints it."`
		Keys string `env:"HARK_KEYS" required:"" placeholder:"FILE" help:"File of keys, as the gateway has it."`
	} `cmd:"" help:"Take a key out of a file. What came with it ends within two seconds."`
}

func (v *keysVerb) run(s *Streams, verb string) error {
	switch verb {
	case "new":
		return v.make(s)
	case "list":
		return v.list(s)
	default:
		return v.revoke(s)
	}
}

func (v *keysVerb) make(s *Streams) error {
	key, entry, err := auth.NewKey(v.New.Subject, v.New.Roles)
	if err != nil {
		return settings.NotAllowed("subject or role", v.New.Subject+":"+strings.Join(v.New.Roles, ","), "a subject, and roles: "+err.Error())
	}
	if v.New.Keys != "" {
		if err := changeKeys(v.New.Keys, true, func(text []byte) ([]byte, error) {
			if len(text) > 0 && text[len(text)-1] != '\n' {
				text = append(text, '\n')
			}
			text = append(text, entry...)
			if _, err := auth.ListKeys(text); err != nil {
				return nil, fmt.Errorf("with another entry behind it, it cannot be read (%w): add this one with an editor; nothing was changed\n\n%s", err, entry)
			}
			return text, nil
		}); err != nil {
			return err
		}
	}
	switch {
	case v.JSON:
		return line(s.Out, map[string]string{"key": key, "entry": entry})
	case v.New.Keys != "":
		_, err = fmt.Fprintln(s.Out, key)
	default:
		_, err = fmt.Fprintf(s.Out, "The key, which is shown this once:\n\n%s\n\nIts entry in the file of --keys:\n\n%s", key, entry)
	}
	return err
}

func (v *keysVerb) list(s *Streams) error {
	text, err := os.ReadFile(v.List.Keys)
	if err != nil {
		return settings.NotAllowed("keys", v.List.Keys, "a file that can be read: "+err.Error())
	}
	keys, err := auth.ListKeys(text)
	if err != nil {
		return fmt.Errorf("%s: %w", v.List.Keys, err)
	}
	var t *table
	if !v.JSON {
		t = newTable(s.Out, "ID", "SUBJECT", "ROLES", "EXPIRES", "ABOUT")
	}
	for _, k := range keys {
		var expires, about string
		if !k.Expires.IsZero() {
			expires = k.Expires.UTC().Format(time.RFC3339)
			if !time.Now().Before(k.Expires) {
				about = "has expired"
			}
		}
		if k.Plain {
			about = strings.TrimSpace(about + " the file has the key itself")
		}
		if v.JSON {
			if err := line(s.Out, map[string]any{"id": k.ID, "subject": k.Subject, "roles": k.Roles, "expires": expires, "plain": k.Plain}); err != nil {
				return err
			}
			continue
		}
		t.row(k.ID, k.Subject, strings.Join(k.Roles, ","), at(expires), about)
	}
	if t == nil {
		return nil
	}
	return t.end()
}

func (v *keysVerb) revoke(s *Streams) error {
	if err := changeKeys(v.Revoke.Keys, false, func(text []byte) ([]byte, error) {
		changed, err := auth.WithoutKey(text, v.Revoke.ID)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.Revoke.Keys, err)
		}
		return changed, nil
	}); err != nil {
		return err
	}
	if v.JSON {
		return line(s.Out, map[string]string{"id": v.Revoke.ID, "status": "revoked"})
	}
	_, err := fmt.Fprintln(s.Out, plain(v.Revoke.ID), "revoked")
	return err
}

// changeKeys writes a file of keys anew, whole or not at all, with the mode that it has. Where it
// is a link, what it leads to is written. may says that there need be none yet.
func changeKeys(name string, may bool, f func([]byte) ([]byte, error)) error {
	mode := os.FileMode(0o600)
	if path, err := filepath.EvalSymlinks(name); err == nil {
		name = path
	}
	text, err := os.ReadFile(name)
	if err == nil {
		if info, err := os.Stat(name); err == nil {
			mode = info.Mode().Perm()
		}
	} else if !may || !errors.Is(err, os.ErrNotExist) {
		return settings.NotAllowed("keys", name, "a file that can be read: "+err.Error())
	}
	changed, err := f(text)
	if err != nil {
		return err
	}
	to, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("%s is not changed: %w", name, err)
	}
	_, err = to.Write(changed)
	if err = errors.Join(err, to.Chmod(mode), to.Sync(), to.Close()); err == nil {
		err = os.Rename(to.Name(), name)
	}
	if err != nil {
		_ = os.Remove(to.Name())
		return fmt.Errorf("%s is not changed: %w", name, err)
	}
	return nil
}
