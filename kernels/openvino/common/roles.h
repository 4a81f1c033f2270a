/* Inputs that an operator has only sometimes: a list such as "x,shift,weight" says what each of them is. */
#pragma once

#include <sstream>
#include <string>

namespace edgeopt {

/* Return where in the list a role stands, -1 where it does not. */
inline int place(const std::string& roles, const std::string& wanted) {
    std::istringstream list(roles);
    std::string role;
    for (int index = 0; std::getline(list, role, ','); index++)
        if (role == wanted)
            return index;
    return -1;
}

}  // namespace edgeopt
