package samples

import (
	"database/sql"
	"net/mail"
	"net/url"
	"slices"
	"strings"

	"github.com/hark-push/hark/settings"
)

// Flags are the settings of the samples that a gateway and a worker have alike, as flags and
// variables by their tags, which are those of github.com/alecthomas/kong.
type Flags struct {
	FetchPrivate bool     `env:"HARK_FETCH_PRIVATE" help:"Let the sample fetch read pages from private addresses."`
	MailServer   string   `env:"HARK_MAIL_SERVER" placeholder:"URL" help:"SMTP server of the sample mail, on the route of that name: smtp://user:password@host:587, which has to take STARTTLS; smtps://… for TLS from the beginning; smtp://host:25?tls=none without. Without it there is no such sample."`
	MailFrom     string   `env:"HARK_MAIL_FROM" placeholder:"ADDRESS" help:"Whom its mail is from, like Hark <hark@example.org>."`
	MailDomains  []string `env:"HARK_MAIL_DOMAINS" placeholder:"DOMAIN,…" help:"Domains to which it sends, and to no other: whoever may submit can write to anybody there."`

	DatabaseDSN   string `env:"HARK_DATABASE_DSN" name:"database-dsn" placeholder:"DSN" help:"Where the sample database, on the route of that name, writes records: postgres://user:password@host/name, or sqlite:///path/to/file. Without it there is no such sample."`
	DatabaseTable string `env:"HARK_DATABASE_TABLE" default:"records" placeholder:"NAME" help:"Table of them, which is made if it is not there."`
}

// Parse returns the options that are meant, or what is wrong with a flag.
func (f Flags) Parse() (Options, error) {
	o := Options{Fetch: FetchOptions{AllowPrivate: f.FetchPrivate}}
	var err error
	if o.Mail, err = f.mail(); err != nil {
		return o, err
	}
	o.Database, err = f.database()
	return o, err
}

func (f Flags) database() (o DatabaseOptions, err error) {
	if f.DatabaseDSN == "" {
		return o, nil
	}
	kind, _, err := splitDSN(f.DatabaseDSN)
	switch {
	case err != nil: // whose value is not shown, because there may be a password in it
		return o, settings.NotAllowed("database-dsn", "(not shown)", "postgres://user:password@host/name, or sqlite:///path/to/file")
	case !slices.Contains(sql.Drivers(), dialects[kind].driver):
		return o, settings.NotAllowed("database-dsn", kind+"://…", "nothing: this program was built without databases. Build it with -tags=database, or run the worker, which has them")
	case !tableName.MatchString(f.DatabaseTable):
		return o, settings.NotAllowed("database-table", f.DatabaseTable, "a name of letters, digits and _, maybe with that of its schema and a point in front")
	}
	return DatabaseOptions{DSN: f.DatabaseDSN, Table: f.DatabaseTable}, nil
}

// mailServers says what a URL of a mail server looks like.
const mailServers = "a URL like smtp://user:password@host:587, smtps://user:password@host:465, or smtp://host:25?tls=none"

func (f Flags) mail() (o MailOptions, err error) {
	if f.MailServer == "" {
		return o, nil
	}
	u, err := url.Parse(f.MailServer)
	switch {
	// The value is not shown, because there may be a password in it.
	case err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" || strings.Trim(u.Path, "/") != "":
		return o, settings.NotAllowed("mail-server", "(not shown)", mailServers)
	case u.RawQuery != "" && (u.Scheme != "smtp" || u.RawQuery != "tls=none"):
		return o, settings.NotAllowed("mail-server", "?"+u.RawQuery, mailServers)
	case u.RawQuery != "" && u.User != nil:
		return o, settings.NotAllowed("mail-server", "?"+u.RawQuery, "no user name with it: the password would be readable on its way")
	}
	o.Server = u
	if o.From, err = mail.ParseAddress(f.MailFrom); err != nil {
		return o, settings.NotAllowed("mail-from", f.MailFrom, "an address like Hark <hark@example.org>, because there is --mail-server")
	}
	if len(f.MailDomains) == 0 {
		return o, settings.NotAllowed("mail-domains", "", "the domains to which mail may be sent, because there is --mail-server")
	}
	for _, domain := range f.MailDomains {
		if !validDomain(domain) {
			return o, settings.NotAllowed("mail-domains", domain, "names like example.org")
		}
	}
	o.Domains = slices.Clone(f.MailDomains)
	return o, nil
}
