from . import datasets as datasets
from . import mechanisms as mechanisms
from . import metrics as metrics
from .action import given_factual as given_factual
from .action import scale as scale
from .action import shift as shift
from .counterfactual import Counterfactual as Counterfactual
from .data import Batch as Batch
from .errors import CausalCFError as CausalCFError
from .graph import CausalGraph as CausalGraph
from .graph import graph_names as graph_names
from .graph import load_graph as load_graph
from .reference import pretrained as pretrained
from .reference import pretrained_names as pretrained_names
from .scm import SCM as SCM
from .scm import StructuralCausalModel as StructuralCausalModel
from .variables import Boolean as Boolean
from .variables import Categorical as Categorical
from .variables import Image as Image
from .variables import Interval as Interval
from .variables import Positive as Positive
from .variables import Real as Real
from .variables import Vector as Vector

__version__: str
