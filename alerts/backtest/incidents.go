package backtest

import (
	"fmt"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

// Incident is a time during which something is known to have been wrong.
type Incident struct {
	Name   string            `json:"name,omitempty"`
	Labels map[string]string `json:"labels,omitempty"` // an alert must have these to catch it; none: any alert may
	FromMS int64             `json:"from_ms"`
	ToMS   int64             `json:"to_ms"`
}

type incidentsYAML struct {
	Incidents []incidentYAML `yaml:"incidents"`
}

type incidentYAML struct {
	Name   string            `yaml:"name"`
	Labels map[string]string `yaml:"labels"`
	From   string            `yaml:"from"`
	To     string            `yaml:"to"`
}

// ParseIncidents reads a YAML file with a list of incidents: each has labels, from and to, and optionally a name. The
// error is conf.Faults.
func ParseIncidents(name string, data []byte) ([]Incident, error) {
	var y incidentsYAML
	doc := conf.Parse(name, data, &y)
	if len(y.Incidents) == 0 && doc.Err() == nil {
		doc.Fail("incidents", nil, "must be given")
	}
	var all []Incident
	for i, in := range y.Incidents {
		at := fmt.Sprintf("incidents[%d]", i)
		x := Incident{Name: in.Name, Labels: in.Labels}
		timed := true
		for _, f := range []struct {
			field, text string
			ms          *int64
		}{{at + ".from", in.From, &x.FromMS}, {at + ".to", in.To, &x.ToMS}} {
			t, err := ParseTime(f.text)
			if err != nil {
				doc.Fail(f.field, f.text, err.Error())
				timed = false
				continue
			}
			*f.ms = t
		}
		if timed && x.ToMS <= x.FromMS {
			doc.Fail(at+".to", in.To, "must be after from")
		}
		all = append(all, x)
	}
	return all, doc.Err()
}

// ParseTime reads a time and returns it in ms since 1970. The time may be written as 2026-01-31, 2026-01-31 08:00,
// 2026-01-31 08:00:00 or in RFC 3339, and is UTC unless it names a zone.
func ParseTime(text string) (int64, error) {
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UnixMilli(), nil
		}
	}
	return 0, fmt.Errorf("must be a time such as 2026-01-31, 2026-01-31 08:00 or 2026-01-31T08:00:00Z")
}

// Judgement tells how well the rules caught the incidents.
type Judgement struct {
	Incidents []IncidentReport `json:"incidents"`
	Known     int              `json:"known"` // incidents within the report's time, of series that the recording has
	Caught    int              `json:"caught"`
	Alerts    int              `json:"alerts"`
	False     []int            `json:"false_alerts"` // indices into Report.Alerts
}

// IncidentReport is an incident, with the first alert of each rule that caught it.
type IncidentReport struct {
	Incident
	Caught []Catch `json:"caught_by"`
	// Unseen is set if the incident is outside the report's time, or if the recording lacks its series.
	Unseen bool `json:"unseen,omitempty"`
}

// Catch is the first alert of a rule within an incident.
type Catch struct {
	Rule    string `json:"rule"`
	FiredMS int64  `json:"fired_ms"`
	AfterMS int64  `json:"after_ms"` // after the incident's beginning
	LeftMS  int64  `json:"left_ms"`  // before its end
}

// concerns reports whether an alert's labels include those of the incident.
func (in *Incident) concerns(a *Alert) bool {
	for name, value := range in.Labels {
		if a.Labels[name] != value {
			return false
		}
	}
	return true
}

// isOf reports whether a series has the incident's labels.
func (in *Incident) isOf(s schemas.Series) bool {
	for name, value := range in.Labels {
		if s.Labels.Get(name) != value {
			return false
		}
	}
	return true
}

func (b *Backtest) judge(fired []Alert) *Judgement {
	j := &Judgement{Alerts: len(fired), False: []int{}}
	right := map[int]bool{}
	for k, in := range b.config.Incidents {
		r := IncidentReport{Incident: in, Caught: []Catch{}, Unseen: !b.about[k] || in.ToMS <= b.config.FromMS || in.FromMS >= b.config.ToMS}
		by := map[string]bool{}
		for i := range fired {
			a := &fired[i]
			if a.FiredMS < in.FromMS || a.FiredMS >= in.ToMS || !in.concerns(a) {
				continue
			}
			right[i] = true
			if !by[a.Rule] {
				by[a.Rule] = true
				r.Caught = append(r.Caught, Catch{a.Rule, a.FiredMS, a.FiredMS - in.FromMS, in.ToMS - a.FiredMS})
			}
		}
		if !r.Unseen {
			j.Known++
		}
		if len(r.Caught) > 0 {
			j.Caught++
		}
		j.Incidents = append(j.Incidents, r)
	}
	for i := range fired {
		if !right[i] {
			j.False = append(j.False, i)
		}
	}
	return j
}
