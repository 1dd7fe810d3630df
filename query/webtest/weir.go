package webtest

import (
	"context"
	"fmt"
	"strings"
)

// Chart is what the page shows of one tier.
type Chart struct {
	Tier    string // "10s"
	Windows int    // windows that the chart holds
	// Inked is how many pixels of the plot have the colour of the averages' line: 0 if nothing was
	// drawn.
	Inked int
	Note  string // the words in place of the plot
}

// Alert is one entry of the page's list.
type Alert struct {
	Name, State, Value string
	Labels             []string // "host=web01"
}

// View is what weir's page shows.
type View struct {
	Selected   string // metric of the selected series
	Labels     []string
	Connection string // "live" when the stream is open
	Problem    string
	Series     int // entries of the list of series
	Charts     []Chart
	Alerts     []Alert
}

const readView = `(() => {
  const shown = (e) => e && !e.hidden && e.offsetParent !== null ? e.textContent : '';
  const pairs = (list) => [...list.children].map((li) => li.children[0].textContent + '=' + li.children[1].textContent);
  const swatch = document.createElement('canvas').getContext('2d');
  swatch.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--line').trim();
  swatch.fillRect(0, 0, 1, 1);
  const want = swatch.getImageData(0, 0, 1, 1).data;
  const inked = (canvas) => {
    if (!canvas) return 0;
    const d = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let n = 0;
    for (let i = 0; i < d.length; i += 4)
      if (d[i + 3] > 200 && [0, 1, 2].every((k) => Math.abs(d[i + k] - want[k]) < 12)) n++;
    return n;
  };
  return {
    Selected: document.querySelector('#selected').textContent,
    Labels: pairs(document.querySelector('#labels')),
    Connection: document.querySelector('#connection').dataset.state,
    Problem: shown(document.querySelector('#problem')),
    Series: document.querySelectorAll('#series a').length,
    Charts: [...document.querySelectorAll('figure')].map((f) => ({
      Tier: f.dataset.tier, Windows: Number(f.dataset.windows), Inked: inked(f.querySelector('canvas')), Note: shown(f.querySelector('.note')),
    })),
    Alerts: [...document.querySelectorAll('.alert')].map((a) => ({
      Name: a.querySelector('.alert-head b').textContent, State: a.querySelector('.state').textContent,
      Value: a.querySelector('.value').textContent, Labels: pairs(a.querySelector('.chips')),
    })),
  };
})()`

// View reads what the page shows now.
func (p *Page) View(ctx context.Context) (*View, error) {
	v := &View{}
	if err := p.Eval(ctx, readView, v); err != nil {
		return nil, err
	}
	return v, nil
}

// AwaitDrawn waits until the page is live and the charts of these tiers have windows and ink, and
// returns what it shows. A fault on the console is an error.
func (p *Page) AwaitDrawn(ctx context.Context, tiers ...string) (*View, error) {
	conditions := []string{"document.querySelector('#connection').dataset.state === 'live'"}
	for _, t := range tiers {
		conditions = append(conditions, fmt.Sprintf("document.querySelector('figure[data-tier=%q] canvas')", t))
	}
	if err := p.Await(ctx, strings.Join(conditions, " && ")); err != nil {
		return nil, err
	}
	// uPlot draws in a task of its own, after it has made the canvas.
	if err := p.Eval(ctx, "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))", nil); err != nil {
		return nil, err
	}
	v, err := p.View(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range v.Charts {
		for _, t := range tiers {
			if c.Tier == t && (c.Windows == 0 || c.Inked == 0) {
				return v, fmt.Errorf("chart of tier %s: %d windows, %d inked pixels: nothing is drawn (%q)", t, c.Windows, c.Inked, c.Note)
			}
		}
	}
	if faults := p.Faults(); len(faults) > 0 {
		return v, fmt.Errorf("console of the page: %q", faults)
	}
	return v, nil
}
