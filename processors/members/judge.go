package members

import (
	"maps"
	"slices"
)

// Outcome is the result of a question to a member.
type Outcome int

// The outcomes of a question.
const (
	Answered Outcome = iota // with anything
	Refused                 // the port refuses connections: nothing listens
	Silent                  // neither, within the time for an answer
)

const (
	watchEach     = 3       // members that each member watches
	missedRefused = 3       // renewals that a member whose port refuses must have missed
	missedSilent  = 12      // and one that does not answer
	refusals      = 2       // in a row before a port counts as refusing
	silences      = 3       // in a row before a member counts as silent
	missedForget  = 4 * 600 // renewals after which a member is forgotten: ten minutes' worth
	maxKnown      = 10_000  // members that are remembered; further ones are not watched
)

// Judge decides which members are dead. It is not safe for concurrent use.
type Judge struct {
	self  string
	known map[string]*peer // by instance id, without self
}

// peer is what is known about another member.
type peer struct {
	address string
	started int64 // tells its lives apart
	missed  int   // renewals of self since the peer's last
	reached bool  // it has answered since it came, came back or was taken out
	refused int   // questions in a row
	silent  int   // questions in a row without an answer, including refused ones
	out     bool  // taken out, and has not renewed since
}

// Dead is a member to be taken out of its groups.
type Dead struct {
	Instance, Address string
	Why               string // refuses or silent
}

// NewJudge returns the Judge of the member with that instance id; it knows nobody yet.
func NewJudge(self string) *Judge { return &Judge{self: self, known: map[string]*peer{}} }

// Renewed records the next renewal in the order of the log. started distinguishes the lives of a
// member.
func (j *Judge) Renewed(instance, address string, started int64) {
	if instance == j.self {
		for id, p := range j.known {
			if p.missed++; p.missed > missedForget {
				delete(j.known, id)
			}
		}
		return
	}
	p := j.known[instance]
	if p == nil {
		if len(j.known) == maxKnown {
			return
		}
		p = &peer{}
		j.known[instance] = p
	}
	if p.out || p.started != started || p.address != address {
		*p = peer{address: address, started: started}
	}
	p.missed = 0
}

// Left records that a member said goodbye.
func (j *Judge) Left(instance string) { delete(j.known, instance) }

// Watched returns the addresses of the members to ask, by instance id.
func (j *Judge) Watched() map[string]string {
	ids := slices.Sorted(maps.Keys(j.known))
	ids = slices.DeleteFunc(ids, func(id string) bool { return j.known[id].out })
	first, _ := slices.BinarySearch(ids, j.self)
	watched := map[string]string{}
	for i := range min(watchEach, len(ids)) {
		id := ids[(first+i)%len(ids)]
		watched[id] = j.known[id].address
	}
	return watched
}

// Asked records the outcome of a question to a member at an address.
func (j *Judge) Asked(instance, address string, o Outcome) {
	p := j.known[instance]
	if p == nil || p.address != address {
		return
	}
	switch o {
	case Answered:
		p.reached, p.refused, p.silent = true, 0, 0
	case Refused:
		p.refused++
		p.silent++
	case Silent:
		p.refused = 0
		p.silent++
	}
}

// Dead returns the members that are dead and have not been taken out yet, in order.
func (j *Judge) Dead() (dead []Dead) {
	for _, id := range slices.Sorted(maps.Keys(j.Watched())) {
		p := j.known[id]
		switch {
		case !p.reached:
		case p.refused >= refusals && p.missed >= missedRefused:
			dead = append(dead, Dead{id, p.address, "refuses"})
		case p.silent >= silences && p.missed >= missedSilent:
			dead = append(dead, Dead{id, p.address, "silent"})
		}
	}
	return dead
}

// Out records that a member was taken out of its groups. It is judged again once it has renewed and
// answered.
func (j *Judge) Out(instance string) {
	if p := j.known[instance]; p != nil {
		*p = peer{address: p.address, started: p.started, missed: p.missed, out: true}
	}
}

// Known returns how many other members have not been taken out.
func (j *Judge) Known() (n int) {
	for _, p := range j.known {
		if !p.out {
			n++
		}
	}
	return n
}
