// How long commands wait for a database that another process has locked.
#pragma once

#include "tuner/trials/store.h"

namespace fcsa::cli {

// Until it is free, or the user stops the command. Says every half minute who is waited for.
tuner::Patience patience();

}  // namespace fcsa::cli
