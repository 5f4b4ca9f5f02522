#include "daemon/shell/watchdog.h"

#include "common/base/bits.h"
#include "common/obs/notify.h"

static void
watchdog_on_timer(struct cw_timer *t)
{
    struct cw_watchdog *w = cw_container_of(t, struct cw_watchdog, timer);

    cw_timer_set(w->env, &w->timer, cw_now_ns(w->env) + w->every_ns);
    if (w->ask == NULL) {
        cw_notify("WATCHDOG=1");
    } else if (!w->asked) { /* else it has not come back yet: nothing is told */
        w->asked = true;
        w->ask(w->user);
    }
}

void
cw_watchdog_start(struct cw_watchdog *w, struct cw_env *env, void (*ask)(void *user), void *user)
{
    *w = (struct cw_watchdog){ .env = env,
                               .timer.fn = watchdog_on_timer,
                               .every_ns = cw_notify_watchdog_ns(),
                               .ask = ask,
                               .user = user };
    if (w->every_ns > 0)
        cw_timer_set(env, &w->timer, cw_now_ns(env) + w->every_ns / 2);
}

void
cw_watchdog_alive(struct cw_watchdog *w)
{
    w->asked = false;
    cw_notify("WATCHDOG=1");
}

void
cw_watchdog_stop(struct cw_watchdog *w)
{
    if (w->env != NULL)
        cw_timer_cancel(w->env, &w->timer);
}
